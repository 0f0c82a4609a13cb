"""`pairwright steps`: lists the steps that a recipe can have, or one with its settings and the reasons for which it may reject rows."""

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

from flows.planning import reasons, registry
from schemas.arrow import TABLES
from schemas.errors import RecipeError
from schemas.operator import PARTS, OperatorModule, OperatorSettings
from schemas.records import REMEDIES, SAMPLE_KINDS
from schemas.text import did_you_mean

BOUNDS = {Ge: ("ge", ">="), Gt: ("gt", ">"), Le: ("le", "<="), Lt: ("lt", "<")}
REQUIRED = "required"
LONGEST = 60  # characters; a longer type is cut: it is a choice of many, which the setting's sentence names


class Listed(NamedTuple):
    """An operator in the list. A part of other operators reads and leaves no tables."""

    title: str
    reads: tuple[str, ...]
    leaves: tuple[str, ...]
    media: tuple[str, ...]
    what: str


class Setting(NamedTuple):
    """A setting of an operator, as text."""

    name: str
    type: str  # with its bounds
    default: str  # as JSON; REQUIRED if there is none
    what: str


def listed(reads: str | None = None, leaves: str | None = None, media: str | None = None) -> list[Listed]:
    """The operators that read and leave these tables and handle this kind of sample; None matches all. RecipeError if there is no such
    table or kind."""
    for word, known, what in (
        (reads, TABLES, "table"),
        (leaves, TABLES, "table"),
        (media, SAMPLE_KINDS, "kind of sample"),
    ):
        if word is not None and word not in known:
            raise RecipeError(f"unknown {what} '{word}'; {did_you_mean(word, known)}")
    found = [
        _listed(family, name) for family, room in registry.HOME.items() for name in registry.names(f"{room}.{family}")
    ]
    return [
        operator
        for operator in found
        if (reads is None or reads in operator.reads)
        and (leaves is None or leaves in operator.leaves)
        and (media is None or media in operator.media)
    ]


def _listed(family: str, name: str) -> Listed:
    module = registry.operator(family, name)
    title = family if family == name else f"{family}.{name}"
    what = first_sentence(inspect.getdoc(module) or "")
    if family in PARTS:
        return Listed(title, (), (), (), f"{what} Not a step: it is named in a setting of another operator.")
    return Listed(title, module.READS, module.LEAVES, module.MEDIA, what)


def first_sentence(text: str) -> str:
    """The first sentence of a docstring, on one line."""
    head, stop, _ = " ".join(text.partition("\n\n")[0].split()).partition(". ")
    return head + "." if stop else head


def show_all(found: list[Listed], console: Console) -> None:
    """Prints the list: a line of tables and kinds per operator, and what it does."""
    if not found:
        console.print("no step matches all of these options; remove one")
        return
    for operator in found:
        handles = "all" if set(operator.media) == set(SAMPLE_KINDS) else ", ".join(operator.media)
        tables = [", ".join(words) or "-" for words in (operator.reads, operator.leaves)]
        console.print(
            f"[bold]{escape(operator.title)}[/bold]  [dim]{tables[0]} -> {tables[1]}; {handles or '-'}[/dim]",
            soft_wrap=True,
        )
        console.print(f"    {escape(operator.what)}", soft_wrap=True)
    console.print(
        "\nstep  tables that it reads -> tables that it leaves; kinds of samples that it handles", style="dim"
    )
    console.print("`pairwright steps STEP` shows a step's settings, and the reasons for which it may reject rows")


def show(title: str, console: Console) -> None:
    """Prints one operator. RecipeError if there is none with that title."""
    family, _, name = title.partition(".")
    module = registry.operator(family, name or family)
    found = _listed(family, module.__name__.rpartition(".")[2])
    console.print(f"[bold]{escape(found.title)}[/bold]  {escape(found.what)}", soft_wrap=True)
    for word, values in (("reads", found.reads), ("leaves", found.leaves), ("handles", found.media)):
        console.print(f"  {word}: {', '.join(values) or '-'}", soft_wrap=True)
    console.print("\n[bold]Settings[/bold]")
    for setting in settings(module):
        default = setting.default if setting.default == REQUIRED else f"default {setting.default}"
        console.print(f"  [bold]{setting.name}[/bold]: {escape(setting.type)}, {escape(default)}", soft_wrap=True)
        if setting.what:
            console.print(f"      {escape(setting.what)}", soft_wrap=True)
    console.print("\n[bold]May reject rows because of[/bold]")
    for reason, remedy in rejections(family, module):
        console.print(f"  [bold]{reason}[/bold]: {escape(remedy)}", soft_wrap=True)


def rejections(family: str, module: OperatorModule) -> Iterator[tuple[str, str]]:
    """(reason, remedy) for each reason of an operator; a single line if it rejects no rows."""
    found = reasons.reasons_of(family, module)
    yield from ((str(reason), REMEDIES[reason]) for reason in found)
    if reasons.passes_on(module):
        yield "any reason of its model", "a failed request of its engine: see the row's detail"
    elif not found:
        yield "nothing", "it rejects no rows; what a judge cannot decide is a judgement without a verdict"


def settings(module: OperatorModule) -> list[Setting]:
    """An operator's settings in order, each with the string under it."""
    what = sentences(module.Settings)
    return [
        Setting(field.alias or name, _type(field), _default(field), what.get(name, ""))
        for name, field in module.Settings.model_fields.items()
    ]


def sentences(settings: type[BaseModel]) -> dict[str, str]:
    """Field -> the string under it, for a class and the classes it inherits from."""
    found = {}
    for cls in reversed(settings.__mro__):
        if not issubclass(cls, OperatorSettings) or cls is OperatorSettings:
            continue
        (body,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
        for field, text in pairwise(getattr(body, "body", ())):
            match field, text:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(sentence))):
                    found[name] = " ".join(sentence.split())
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
    """A type as in Python, without modules."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _named(inner[0])
    if origin is Literal:
        return " | ".join(map(str, inner))
    if origin in (Union, UnionType):
        return " | ".join(dict.fromkeys(map(_named, inner)))
    if origin is not None:
        return f"{_named(origin)}[{', '.join('...' if arg is ... else _named(arg) for arg in inner)}]"
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
