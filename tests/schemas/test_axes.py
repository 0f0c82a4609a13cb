import re
from pathlib import Path

import pytest

from schemas import axes

SOURCE = Path(axes.__file__).read_text()
AXES = {name: value for name, value in vars(axes).items() if name.isupper() and isinstance(value, str)}


def test_an_axis_has_one_name_and_a_line_that_says_what_it_means():
    assert len(set(AXES.values())) == len(AXES) > 20
    assert [
        name for name in AXES if not re.search(rf'^{name} = "[^"]+"\n"""\w.{{10,}}"""$', SOURCE, re.MULTILINE)
    ] == []


@pytest.mark.parametrize(
    "axis", ["form", "severity", "both_bad", "unsafe", "media_broken", "unacceptable", "skipped", "harm:violence"]
)
def test_what_says_something_else_of_an_answer_puts_none_before_another(axis):
    assert not axes.is_quality(axis)


@pytest.mark.parametrize(
    "axis", ["truth", "score", "preference", "rank", "blind", "safe", "helpfulness", "harmlessness", ""]
)
def test_on_every_other_axis_and_on_those_of_recipes_answers_are_put_in_order(axis):
    assert axes.is_quality(axis)


def test_no_module_writes_an_axis_as_a_text():
    root = Path(__file__).parents[2]
    written = re.compile(r"""\baxis(: str)? ?(=|==|!=) ?"|\bSaid\((\([^()]*\)|\w+), "|\bSaid\(\"""")
    found = [
        f"{path.relative_to(root)}: {line.strip()}"
        for room in ("pipeline", "annotators", "flows")
        for path in sorted((root / room).rglob("*.py"))
        for line in path.read_text().splitlines()
        if written.search(line) and "axes." not in line and not re.search(r"grid\(", line)
    ]
    assert found == []
