"""The steps that a recipe can have: all in a list, or one with its settings and the reasons for which it may reject rows."""

import ast
import inspect
import json
import textwrap
from collections.abc import Iterator
from itertools import pairwise
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from flows.planning import reasons, registry
from schemas.arrow import TABLES
from schemas.errors import RecipeError
from schemas.operator import PARTS, OperatorModule, OperatorSettings
from schemas.records import REMEDIES, SAMPLE_KINDS
from schemas.text import did_you_mean

BOUNDS = {Ge: ("ge", ">="), Gt: ("gt", ">"), Le: ("le", "<="), Lt: ("lt", "<")}
REQUIRED = "required"
LONGEST = 60  # characters of a type; a longer one is a choice of many, which its sentence names


class Listed(NamedTuple):
    """An operator in the list. One that is a part of others reads and leaves no tables."""

    title: str
    reads: tuple[str, ...]
    leaves: tuple[str, ...]
    media: tuple[str, ...]
    what: str


class Setting(NamedTuple):
    name: str
    type: str  # with its bounds
    default: str  # as YAML says it; "required" where there is none
    what: str


def listed(reads: str | None = None, leaves: str | None = None, media: str | None = None) -> list[Listed]:
    """The operators that read and leave these tables and handle this kind of sample; all without any. RecipeError where there is no such
    table or kind."""
    for word, known, what in (
        (reads, TABLES, "table"),
        (leaves, TABLES, "table"),
        (media, SAMPLE_KINDS, "kind of sample"),
    ):
        if word is not None and word not in known:
            raise RecipeError(f"no {what} is called '{word}': {did_you_mean(word, known)}")
    found = [
        _listed(family, name) for family, room in registry.HOME.items() for name in registry.names(f"{room}.{family}")
    ]
    return [
        one
        for one in found
        if (reads is None or reads in one.reads)
        and (leaves is None or leaves in one.leaves)
        and (media is None or media in one.media)
    ]


def _listed(family: str, name: str) -> Listed:
    module = registry.operator(family, name)
    title = family if family == name else f"{family}.{name}"
    what = first_sentence(inspect.getdoc(module) or "")
    if family in PARTS:
        return Listed(title, (), (), (), f"{what} No step: it is named in a setting of another.")
    return Listed(title, module.READS, module.LEAVES, module.MEDIA, what)


def first_sentence(text: str) -> str:
    """The first sentence of a docstring, on one line."""
    head, stop, _ = " ".join(text.partition("\n\n")[0].split()).partition(". ")
    return head + "." if stop else head


def show_all(found: list[Listed], console: Console) -> None:
    """The list, a row an operator."""
    if not found:
        console.print("no step does all of that: leave one of the options out")
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("step", "reads", "leaves", "handles", "what for"):
        table.add_column(name, overflow="fold")
    for one in found:
        handles = "all" if set(one.media) == set(SAMPLE_KINDS) else ", ".join(one.media)
        table.add_row(
            f"[bold]{escape(one.title)}[/bold]",
            *(", ".join(words) or "-" for words in (one.reads, one.leaves)),
            handles or "-",
            escape(one.what),
        )
    console.print(table)
    console.print("`pairwright steps STEP` shows the settings of one, and the reasons for which it may reject rows")


def show(title: str, console: Console) -> None:
    """One operator. RecipeError where there is none of that title."""
    family, _, name = title.partition(".")
    module = registry.operator(family, name or family)
    one = _listed(family, module.__name__.rpartition(".")[2])
    console.print(f"[bold]{escape(one.title)}[/bold]  {escape(one.what)}", soft_wrap=True)
    for word, values in (("reads", one.reads), ("leaves", one.leaves), ("handles", one.media)):
        console.print(f"  {word}: {', '.join(values) or '-'}", soft_wrap=True)
    console.print("\n[bold]Settings[/bold]")
    for setting in settings(module):
        default = setting.default if setting.default == REQUIRED else f"default {setting.default}"
        console.print(f"  [bold]{setting.name}[/bold]: {escape(setting.type)}, {escape(default)}", soft_wrap=True)
        if setting.what:
            console.print(f"      {escape(setting.what)}", soft_wrap=True)
    console.print("\n[bold]May reject rows as[/bold]")
    for reason, remedy in rejections(family, module):
        console.print(f"  [bold]{reason}[/bold]: {escape(remedy)}", soft_wrap=True)


def rejections(family: str, module: OperatorModule) -> Iterator[tuple[str, str]]:
    """(reason, what helps) of an operator; one line where it rejects none."""
    found = reasons.reasons_of(family, module)
    yield from ((str(reason), REMEDIES[reason]) for reason in found)
    if reasons.passes_on(module):
        yield "any reason of its model", "what its engine could not answer: the row's detail says why"
    elif not found:
        yield "nothing", "it rejects no row; what a judge could not decide is a judgement without a verdict"


def settings(module: OperatorModule) -> list[Setting]:
    """An operator's settings in order, each with the sentence under it."""
    what = sentences(module.Settings)
    return [
        Setting(field.alias or name, _type(field), _default(field), what.get(name, ""))
        for name, field in module.Settings.model_fields.items()
    ]


def sentences(settings: type[BaseModel]) -> dict[str, str]:
    """Field -> the string under it, in a class and those that it inherits from."""
    found = {}
    for cls in reversed(settings.__mro__):
        if not issubclass(cls, OperatorSettings) or cls is OperatorSettings:
            continue
        (body,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
        for field, text in pairwise(getattr(body, "body", ())):
            match field, text:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(said))):
                    found[name] = " ".join(said.split())
    return found


def _type(field: FieldInfo) -> str:
    named = _named(field.annotation)
    bounds = [
        f"{sign} {getattr(bound, name):,}"
        for bound in field.metadata
        for kind, (name, sign) in BOUNDS.items()
        if isinstance(bound, kind)
    ]
    short = named if len(named) <= LONGEST else f"{named[: LONGEST - 4]} ..."
    return f"{short} ({', '.join(bounds)})" if bounds else short


def _named(kind: Any) -> str:
    """A type in the words of Python, as short as it goes."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _named(inner[0])
    if origin is Literal:
        return " | ".join(map(str, inner))
    if origin in (Union, UnionType):
        return " | ".join(dict.fromkeys(map(_named, inner)))
    if origin is not None:
        return f"{_named(origin)}[{', '.join('...' if one is ... else _named(one) for one in inner)}]"
    return "none" if kind is NoneType else getattr(kind, "__name__", str(kind))


def _default(field: FieldInfo) -> str:
    default = field.get_default(call_default_factory=True, validated_data={})
    if default is PydanticUndefined:
        return REQUIRED
    return json.dumps(
        default,
        ensure_ascii=False,
        default=lambda value: value.model_dump(mode="json") if isinstance(value, BaseModel) else str(value),
    )
