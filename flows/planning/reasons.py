"""The Reasons with which an operator may reject rows, found in its source and in the code that it calls."""

import ast
import importlib.util
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from schemas.operator import OperatorModule
from schemas.records import SAMPLE_KINDS, Reason

ROOMS = (
    "pipeline.",
    "annotators.",
    "schemas.errors",
)  # modules that are followed; not engines, which answer but do not reject
APART = ("pipeline.engines.", "pipeline.storage.")


def reasons_of(family: str, module: OperatorModule) -> list[Reason]:
    """The operator's Reasons, in the order of Reason. Reasons that it passes on from an engine are not included: see `passes_on`."""
    found = set(_named(module.__name__))
    if family == "source":
        found.add(Reason.DUPLICATE)  # rows that make the same sample: flows/runs/intake.py
    elif "samples" in getattr(module, "LEAVES", ()):
        found.add(Reason.SUPERSEDED)
    if "pairs" in getattr(module, "LEAVES", ()):
        found.add(Reason.CONTRADICTION)  # pairs that contradict one of its own: flows/runs/contradictions.py
    if family == "pair":
        found.add(Reason.SAME_REPLY)  # pairs by judges that reply by place: flows/runs/same_replies.py
    if set(getattr(module, "MEDIA", SAMPLE_KINDS)) != set(SAMPLE_KINDS):
        found.add(Reason.UNSUPPORTED_MEDIA)  # samples of other kinds: flows/runs/stream.py
    return [reason for reason in Reason if reason in found]


def passes_on(module: OperatorModule) -> bool:
    """Whether it rejects rows with the reason of a failed request."""
    return any(_passes(node) for node in _reached(module.__name__))


def _named(name: str) -> Iterator[Reason]:
    for node in _reached(name):
        for part in ast.walk(node):
            if isinstance(part, ast.Attribute) and isinstance(part.value, ast.Name) and part.value.id == "Reason":
                yield Reason[part.attr]


def _passes(node: ast.AST) -> bool:
    calls = [
        part
        for part in ast.walk(node)
        if isinstance(part, ast.Call) and getattr(part.func, "id", "") in ("Rejection", "RowError")
    ]
    known = any(isinstance(part, ast.Name) and part.id == "Failure" for part in ast.walk(node))
    return known and any(getattr(arg, "attr", "") == "reason" for call in calls for arg in call.args)


def _reached(name: str) -> list[ast.AST]:
    """The top-level statements of a module, and those of other modules reached through the names they use."""
    waiting, seen = [(name, defined) for defined in _statements(name)], set()
    found: list[ast.AST] = []
    while waiting:
        at = waiting.pop()
        if at in seen:
            continue
        seen.add(at)
        for node in _statements(at[0]).get(at[1], ()):
            found.append(node)
            waiting += _used(at[0], node)
    return found


@cache
def _parsed(name: str) -> list[ast.stmt]:
    """The top-level statements of a module of the project, without importing it."""
    spec = importlib.util.find_spec(name)
    return ast.parse(Path(spec.origin).read_text()).body if spec and spec.origin else []


@cache
def _statements(name: str) -> dict[str, list[ast.stmt]]:
    """Name -> the top-level statements that define it."""
    found: dict[str, list[ast.stmt]] = {}
    for node in _parsed(name):
        names: list[str] = []
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names = [node.name]
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = [part.id for target in targets for part in ast.walk(target) if isinstance(part, ast.Name)]
        for defined in names:
            found.setdefault(defined, []).append(node)
    return found


def _imported(nodes: Iterable[ast.AST]) -> dict[str, tuple[str, str]]:
    """Imports from modules that are followed: local name -> (module, name there)."""
    return {
        alias.asname or alias.name: (node.module, alias.name)
        for node in nodes
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
        if _followed(f"{node.module}.{alias.name}.")
    }


@cache
def _imports(name: str) -> dict[str, tuple[str, str]]:
    return _imported(_parsed(name))


def _used(name: str, node: ast.AST) -> Iterator[tuple[str, str]]:
    """(module, name) of everything of the project that a statement uses; for a module passed as a whole, all its names."""
    imported = _imports(name) | _imported(ast.walk(node))
    attributes = {id(part.value): part.attr for part in ast.walk(node) if isinstance(part, ast.Attribute)}
    for part in ast.walk(node):
        if not isinstance(part, ast.Name):
            continue
        if part.id in _statements(name):
            yield name, part.id
        elif part.id in imported:
            home, defined = imported[part.id]
            while defined not in _statements(home) and defined in _imports(home):
                home, defined = _imports(home)[defined]
            if defined in _statements(home):
                yield home, defined
            else:  # a module: the attribute that is used
                whole, wanted = f"{home}.{defined}", attributes.get(id(part))
                yield from ((whole, name_there) for name_there in ([wanted] if wanted else _statements(whole)))


def _followed(module: str) -> bool:
    return module.startswith(ROOMS) and not module.startswith(APART)
