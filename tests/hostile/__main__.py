"""The hostile files, written into a folder to look at, or as the table of docs/hostile.md.

python -m tests.hostile FOLDER
python -m tests.hostile --page
"""

import sys
from pathlib import Path

from schemas.records import one_line
from tests.hostile.files import GOOD, hostile, write
from tests.hostile.rows import rows

PAGE = Path(__file__).parents[2] / "docs" / "hostile.md"
MARK = "<!-- from here on written by `python -m tests.hostile --page` -->\n"


def page() -> str:
    """docs/hostile.md: what a person wrote, and the tables."""
    files, lines = hostile(), list(rows())
    harmless = sum(one.outcome == GOOD for one in files)
    table = [
        f"\n{len(files)} files: {len(files) - harmless} become a rejection, {harmless} are media all the same.\n",
        "| file | what it is | outcome |", "|---|---|---|",
        *(f"| `{_cell(one.name)}` | {one.what} | {one.outcome} |" for one in files),
        f"\n{len(lines)} rows of JSON Lines:\n", "| row | outcome |", "|---|---|",
        *(f"| {what} | {reason} |" for _, what, reason in lines),
    ]  # fmt: skip
    return PAGE.read_text().partition(MARK)[0] + MARK + "\n".join(table) + "\n"


def _cell(name: str) -> str:
    short = name if len(name) < 60 else f"{name[:20]}...{name[-4:]}"
    return one_line(short).replace("|", "\\|").replace("`", "'")


if __name__ == "__main__":
    if sys.argv[1:] == ["--page"]:
        PAGE.write_text(page())
    elif len(sys.argv) == 2:
        print(f"{len(write(Path(sys.argv[1])))} files in {sys.argv[1]}")
    else:
        sys.exit(__doc__)
