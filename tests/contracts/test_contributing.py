"""The diffs of docs/contributing.md apply to the repository as it is, register what they add, and miss a test for each file that is left out.

A diff that no longer applies is written anew against the files as they are now (or with another example, where its example exists by now)."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.contracts.test_readme import ROOT, files

PAGE = (ROOT / "docs" / "contributing.md").read_text()
CLOSURE = "tests/contracts/test_closure.py"
SECTIONS = dict(re.findall(r"^## Add (.*?)\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE))
DIFFS = {title: diff for title, text in SECTIONS.items() for diff in re.findall(r"^```diff\n(.*?)^```", text, re.DOTALL | re.MULTILINE)}  # fmt: skip
ADDED = {
    "a loss": "ipo",
    "a judge": "repetition",
    "a source format": "shp",
    "a kind of corruption": "grey",
    "a benchmark": "sentences",
    "a figure of a judge": "confident",
}
"""section -> what its diff adds, as the ids of the closure tests name it"""
ROW = re.compile(r"^\| (.+?) \| (?:`(tests/[\w/]+\.py)`: )?`(test_\w+)` \|$", re.MULTILINE)
ROWS = [(title, *found) for title, text in SECTIONS.items() for found in ROW.findall(text)]
"""(section, what is forgotten, file of the test, test) of each row of a table; without a file it is CLOSURE"""
FILES = [(title, what.strip("`"), file or CLOSURE, test) for title, what, file, test in ROWS if re.fullmatch(r"`[\w/.]+`", what)
         and f"b/{what.strip('`')}\n" in DIFFS[title]]  # fmt: skip
"""of these, where a whole file is forgotten"""
REGISTRIES = {"pipeline/source/formats/registry.py", "schemas/figures.py"}
"""files without which a part is unknown, so that no other test asks for it"""


def copied(to: Path) -> Path:
    """A copy of the repository as it lies here, which git knows."""
    for name in filter(lambda name: (ROOT / name).is_file(), files()):
        (to / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, to / name)
    subprocess.run(["git", "init", "-q"], cwd=to, check=True)
    return to


def apply(tree: Path, title: str, *without: str) -> None:
    """The diff of a section, but for some of its files."""
    left_out = [f"--exclude={name}" for name in without]
    command = ["git", "apply", "--unidiff-zero", *left_out, "-"]
    done = subprocess.run(command, cwd=tree, input=DIFFS[title], capture_output=True, text=True)
    assert done.returncode == 0, f"docs/contributing.md, 'Add {title}': the diff does not apply:\n{done.stderr}"


def checked(tree: Path, *arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "pytest", "-q", "-rpfE", "-p", "no:cacheprovider", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(command, cwd=tree, capture_output=True, text=True, env=environment)


def test_every_section_has_one_diff_and_says_what_fails():
    assert SECTIONS.keys() == DIFFS.keys() == ADDED.keys() == {title for title, *_ in FILES}


@pytest.mark.slow  # 8 s
def test_every_diff_applies_and_its_part_is_found_by_the_closure_tests_and_passes_its_own(tmp_path):
    tree = copied(tmp_path)
    for title in DIFFS:
        apply(tree, title)
    added = re.findall(r"^--- /dev/null\n\+\+\+ b/(tests/.*)$", "".join(DIFFS.values()), re.MULTILINE)
    words = [*ADDED.values(), *(Path(name).stem for name in added)]
    done = checked(tree, CLOSURE, *added, "-k", " or ".join(words))
    assert done.returncode == 0, done.stdout
    registered = re.findall(rf"^PASSED {CLOSURE}::\w+\[(.*)\]$", done.stdout, re.MULTILINE)
    assert [word for word in ADDED.values() if not any(word in re.split(r"[-. ]", name) for name in registered)] == []


@pytest.mark.slow
@pytest.mark.parametrize("kept", ["registered", "forgotten"])
def test_a_file_that_is_forgotten_fails_the_test_that_the_page_names(tmp_path, kept):
    """Twice: what is not registered at all is asked for nothing else."""
    tree = copied(tmp_path)
    rows = [row for row in FILES if (row[1] in REGISTRIES) == (kept == "forgotten")]
    for title in DIFFS:
        apply(tree, title, *(without for of, without, *_ in rows if of == title))
    done = checked(tree, *{file for *_, file, _ in rows}, "-k", " or ".join(test for *_, test in rows))
    failed = re.findall(r"^FAILED ([\w/.]+)::(\w+)(?:\[(.*?)\])?(?: - .*)?$", done.stdout, re.MULTILINE)
    missed = [row for row in rows for title, _, file, test in [row]
              if not any((file, test) == (f, t) and (not of or ADDED[title] in of) for f, t, of in failed)]  # fmt: skip
    assert missed == [], done.stdout


@pytest.mark.parametrize(("title", "what", "file", "test"), ROWS)
def test_every_test_that_the_page_names_exists(title, what, file, test):
    assert f"def {test}(" in (ROOT / (file or CLOSURE)).read_text()
