"""All kinds of corruption, by the name used in recipes: every class in kinds/ that declares its own `kind`.

A new kind is a class in a file of kinds/ with its function in that file's table; nothing else has to change."""

import importlib
import pkgutil
from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import BeforeValidator, SerializeAsAny

from pipeline.corrupt import kinds
from pipeline.corrupt.kinds._kind import Kind
from schemas.text import did_you_mean


def _found() -> Iterator[type[Kind]]:
    """The classes of the files in kinds/, file by file in source order; files that begin with `_` are helpers."""
    for file in pkgutil.iter_modules(kinds.__path__):
        if not file.name.startswith("_"):
            module = importlib.import_module(f"{kinds.__name__}.{file.name}")
            for cls in vars(module).values():
                if (
                    isinstance(cls, type)
                    and cls.__module__ == module.__name__
                    and "kind" in vars(cls).get("__annotations__", ())
                ):
                    yield cls


KINDS: dict[str, type[Kind]] = {kind.model_fields["kind"].default: kind for kind in _found()}


def _read(given: Any) -> Any:
    """The typed settings for a kind's name or a mapping with a `kind`. ValueError with a suggestion for an unknown name."""
    given = {"kind": given} if isinstance(given, str) else given
    if not isinstance(given, dict):
        return given
    kind = KINDS.get(str(given.get("kind")))
    if kind is None:
        raise ValueError(
            f"unknown corruption kind '{given.get('kind')}'; {did_you_mean(str(given.get('kind')), KINDS)}"
        )
    for key in given:
        if key not in kind.model_fields:
            raise ValueError(f"{given['kind']}: unknown setting '{key}'; {did_you_mean(key, kind.model_fields)}")
    return kind.model_validate(given)


Spec = Annotated[SerializeAsAny[Kind], BeforeValidator(_read)]
"""Type of a setting that names a corruption: `crop`, or `{kind: crop, area: [0.1, 0.3]}`."""
