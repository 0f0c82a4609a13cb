"""The README and the pages under docs/ stay true: the tree is the folder's, and every command exists.

The tree is the README's block fenced as ```tree. A line is one entry, or several of one folder, then two spaces or more
and a remark; two more spaces of indent go one folder down; folders end in a slash and `*` stands for any name:

    schemas/                    the words
      records.py arrow.py       the records and their Arrow schemas
    flows/
      recipes/*.yaml            a folder's files can be named in one line

A folder with lines under it lists everything in it but its __init__.py; one without stands for all that is in it.
"""

import fnmatch
import re
import shlex
import subprocess
from collections import defaultdict
from pathlib import Path

import pytest
import typer

from flows import cli

ROOT = Path(__file__).parents[2]
ROOMS = ("schemas/", "pipeline/", "annotators/", "flows/")
QUIET = ("*/__init__.py", ".gitignore", "LICENSE")
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])


def blocks(page: Path) -> list[tuple[str, str]]:
    """(language, text) of each fenced block."""
    return re.findall(r"^```(\w*)\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)


def remarks() -> dict[str, str]:
    """What the README's tree says of each entry, by its path from the top."""
    text = "\n".join(text for language, text in blocks(ROOT / "README.md") if language == "tree")
    entries, above = {}, []
    for line in filter(str.strip, text.splitlines()):
        entry, remark, *_ = [*re.split(r"\s{2,}", line.strip(), maxsplit=1), ""]
        names = entry.split(" ")
        depth = (len(line) - len(line.lstrip())) // 2
        folder = "".join(above[:depth])
        above = [*above[:depth], names[0]]
        entries |= dict.fromkeys([folder + name for name in names], remark)
    return entries


def tree() -> list[str]:
    """The entries of the README's tree, as paths from the top."""
    return list(remarks())


def files() -> list[str]:
    """Everything that git keeps or would keep."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    return [name for name in listed if (ROOT / name).exists()]


def children() -> dict[str, set[str]]:
    """Folder (with its slash, "" for the top) -> the entries directly in it, folders with a slash."""
    inside = defaultdict(set)
    for name in files():
        parts = name.split("/")
        for depth, part in enumerate(parts):
            slash = "/" if depth < len(parts) - 1 else ""
            inside["".join(p + "/" for p in parts[:depth])].add("/".join([*parts[:depth], part]) + slash)
    return inside


def test_every_entry_of_the_tree_exists():
    known = set().union(*children().values())
    assert tree(), "README.md has no block fenced as ```tree"
    assert [entry for entry in tree() if not fnmatch.filter(known, entry)] == []


def test_the_tree_leaves_nothing_out():
    entries, inside = tree(), children()
    spread = {entry for entry in entries if any(e != entry and e.startswith(entry) for e in entries)}
    assert [room for room in ROOMS if room not in spread] == [], "the four rooms must show what is in them"
    missing = [
        name
        for folder in ["", *spread]
        for name in inside[folder]
        if not any(fnmatch.fnmatch(name, e) for e in [*entries, *QUIET]) and not (folder == "" and name.startswith("."))
    ]
    assert sorted(missing) == []


def commands() -> list[tuple[str, str]]:
    """(page, command) of each line in a code block that runs pairwright or make."""
    found = []
    for page in PAGES:
        for _, text in blocks(page):
            for line in text.replace("\\\n", " ").splitlines():
                line = re.sub(r"^\s*(\$ )?(\.venv/bin/)?", "", line)
                if re.match(r"(pairwright|make)\s", line):
                    found.append((page.name, line))
    return found


@pytest.mark.parametrize(("page", "command"), commands())
def test_a_command_of_the_docs_exists(page, command):
    program, *words = shlex.split(command, comments=True)
    words = list(words[: words.index("|")] if "|" in words else words)
    if program == "make":
        targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
        assert {word for word in words if "=" not in word} <= targets
        return
    known = typer.main.get_command(cli.app)
    while words and hasattr(known, "commands"):
        word = words.pop(0)
        assert word in known.commands, f"{page}: pairwright has no command '{word}'"
        known = known.commands[word]
    options = {name for parameter in known.params for name in [*parameter.opts, *parameter.secondary_opts]} | {"--help"}
    assert {word.partition("=")[0] for word in words if word.startswith("--")} <= options


def held() -> list[tuple[str, str]]:
    """(file, test) of each test that the fault table names; a file is among the tests of Label Studio if its path does not begin with tests/."""
    found, file = [], ""
    for row in re.findall(r"^\|.*\|$", (ROOT / "docs" / "operations.md").read_text(), re.MULTILINE):
        for name in re.findall(r"`([\w/]+\.py|test_\w+)`", row.split(" | ")[-1]):
            if name.endswith(".py"):
                file = name if name.startswith("tests/") else f"tests/annotators/label_studio/{name}"
            else:
                found.append((file, name))
    return found


def test_every_test_that_the_fault_table_names_is_there():
    assert len(held()) > 40
    missing = [(file, name) for file, name in held() if f"def {name}(" not in (ROOT / file).read_text()]
    assert missing == []
