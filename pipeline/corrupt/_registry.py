"""All kinds of corruption, by the name that a recipe gives them: every class in kinds/ that names itself by a `kind` of its own.

A new kind is a class in a file of kinds/, with its function in that file's table; nothing else has to know of it."""

import importlib
import pkgutil
from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import BeforeValidator, SerializeAsAny

from pipeline.corrupt import kinds
from pipeline.corrupt.kinds._kind import Kind
from schemas.text import did_you_mean


def _found() -> Iterator[type[Kind]]:
    """The classes of the files in kinds/, file by file in the order in which they are written; files that begin with `_` help them."""
    for file in pkgutil.iter_modules(kinds.__path__):
        if not file.name.startswith("_"):
            module = importlib.import_module(f"{kinds.__name__}.{file.name}")
            for of in vars(module).values():
                if (
                    isinstance(of, type)
                    and of.__module__ == module.__name__
                    and "kind" in vars(of).get("__annotations__", ())
                ):
                    yield of


KINDS: dict[str, type[Kind]] = {kind.model_fields["kind"].default: kind for kind in _found()}


def _read(given: Any) -> Any:
    """The typed settings that a name, or a mapping with a `kind`, stands for; unknown names are answered with those that there are."""
    given = {"kind": given} if isinstance(given, str) else given
    if not isinstance(given, dict):
        return given
    kind = KINDS.get(str(given.get("kind")))
    if kind is None:
        raise ValueError(f"no kind is called '{given.get('kind')}': {did_you_mean(str(given.get('kind')), KINDS)}")
    for key in given:
        if key not in kind.model_fields:
            raise ValueError(f"{given['kind']} has no setting '{key}': {did_you_mean(key, kind.model_fields)}")
    return kind.model_validate(given)


Spec = Annotated[SerializeAsAny[Kind], BeforeValidator(_read)]
"""What a setting says of media: `crop`, or `{kind: crop, area: [0.1, 0.3]}`."""
