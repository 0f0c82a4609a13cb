"""Nothing is told more than eight things: what belongs together is one named structure."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROOMS = ("schemas", "pipeline", "annotators", "flows")
MOST = 8  # parameters of a function or method, without self and cls


def parameters(code: str) -> Iterator[tuple[str, int]]:
    """(name, how many parameters) of every function and method; `*more` and `**more` are one each. Fields of a class are none."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            of = node.args
            names = [a.arg for a in (*of.posonlyargs, *of.args, *of.kwonlyargs, of.vararg, of.kwarg) if a is not None]
            yield node.name, len([name for name in names if name not in ("self", "cls")])


def test_no_function_is_told_more_than_eight_things():
    found = [
        f"{path.relative_to(ROOT)}: {name} takes {count}"
        for room in ROOMS
        for path in sorted((ROOT / room).rglob("*.py"))
        for name, count in parameters(path.read_text())
        if count > MOST
    ]
    assert found == []


def test_parameters_of_every_kind_are_counted():
    # f: a, b, c, *d, e, **g are 6; m without self: x, y are 2; inner: 1. A field of a class is none
    code = """
def f(a, b, /, c, *d, e=1, **g):
    async def inner(z): ...
class C:
    field: int
    def m(self, x, *, y): ...
"""
    assert dict(parameters(code)) == {"f": 6, "inner": 1, "m": 2}
