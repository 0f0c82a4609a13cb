"""Which data a recipe sends off this machine, and where to: listed before anything runs, without any request. Values of variables are never shown."""

import ipaddress
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from pydantic import BaseModel
from rich.console import Console
from rich.markup import escape
from yarl import URL

from flows.planning.bind import Bound, BoundRecipe, all_settings
from flows.runs import campaigns
from pipeline.media.fetch import Limits
from pipeline.storage import urls
from schemas.records import one_line

HERE = "this machine"
HUB = "the Hugging Face Hub"
ROW_HOSTS = "hosts named in rows"
_VARIABLE = re.compile(r"\$\{(\w+)\}")
_NAME = re.compile(r"[A-Z][A-Z0-9_]{0,63}")


class Disclosure(NamedTuple):
    """Something that leaves this machine, or is requested."""

    to: str  # an address without path or credentials; HERE with such an address, HUB, or ROWS
    what: str

    @property
    def here(self) -> bool:
        """Whether the destination is on this machine."""
        return self.to.startswith(HERE)


def disclosures(recipe: BoundRecipe) -> list[Disclosure]:
    """Everything that leaves this machine when a checked recipe is built, by destination. Paths are looked up; no file is opened."""
    steps = recipe.steps
    found = [*_read(steps), *_hub(recipe, steps), *_asked(recipe, steps), *_people(recipe, steps)]
    return sorted(dict.fromkeys(found), key=lambda item: (item.here, [f.to for f in found].index(item.to)))


def show(found: list[Disclosure], console: Console) -> None:
    """Prints each destination with everything that goes there."""
    if not any(not item.here for item in found):
        console.print("nothing leaves this machine")
    for to in dict.fromkeys(item.to for item in found):
        console.print(f"[bold]{escape(to)}[/bold]", soft_wrap=True)
        for item in found:
            if item.to == to:
                console.print(f"  {escape(item.what)}", soft_wrap=True)


def summary_lines(found: list[Disclosure]) -> list[str]:
    """A line per destination; empty if nothing leaves this machine except requests to addresses in rows."""
    if all(item.here or item.to == ROW_HOSTS for item in found):
        return []
    destinations = dict.fromkeys(item.to for item in found)
    return [f"{to}: {'; '.join(item.what for item in found if item.to == to)}" for to in destinations]


def _asked(recipe: BoundRecipe, steps: Sequence[Bound]) -> Iterator[Disclosure]:
    """What model servers get: texts and media of earlier steps, files that a step's prompts are read from, keys."""
    for name, (_, settings) in recipe.engines.items():
        servers: list[Any] = [
            *getattr(settings, "endpoints", ()),
            *([settings] if getattr(settings, "base_url", None) else ()),
        ]
        asking = [bound for bound in steps if name in bound.models]
        for server in servers:
            to, key = _place(server.base_url), server.api_key_env or getattr(settings, "api_key_env", None)
            if key:
                yield Disclosure(
                    to,
                    f"the value of {_named(key)} as the key of model {name}"
                    + ("" if key in os.environ else " (not set)"),
                )
            if not asking:
                yield Disclosure(to, f"nothing: no step asks model {name}")
                continue
            shows = any(_shows(bound) for bound in asking)
            media = getattr(settings, "media", ())
            kinds = f"media ({', '.join(media)})" if shows and media else ""
            last = max(map(steps.index, asking))
            reading = [bound for bound in steps[:last] if bound.step.family == "source"]
            reading += [bound for bound in asking if bound.step.title == "evaluate.rows"]
            sources = [_source(bound) for bound in reading]
            data = " and ".join(filter(None, ("texts", kinds)))
            yield Disclosure(
                to,
                f"{data} of {', '.join(sources) or 'the rows'}, and answers to them, for {_list(b.step.name for b in asking)} (model {name})",
            )
            for bound in asking:
                for file in _files(bound):
                    if bound not in reading or file != getattr(bound.settings, "path", None):
                        yield Disclosure(to, f"the text of the file {file}, for {bound.step.name}")


def _shows(bound: Bound) -> bool:
    return getattr(bound.settings, "media", True) not in (False, "none")


def _source(bound: Bound) -> str:
    named = [getattr(bound.settings, name, None) for name in ("path", "media_root")]
    paths = _list(map(_called, _texts(named)))
    return f"{bound.step.name} ({paths})" if paths else bound.step.name


def _files(bound: Bound) -> list[str]:
    return [
        one_line(text)
        for text in dict.fromkeys(_texts(list(all_settings(bound))))
        if len(text) < 1000 and os.path.isfile(text)
    ]


def _read(steps: Sequence[Bound]) -> Iterator[Disclosure]:
    """Addresses from which sources and filters read: in settings, and in rows."""
    for bound in steps:
        for text in _texts(list(all_settings(bound))):
            where = _VARIABLE.sub(lambda found: os.environ.get(found[1], found[0]), text)
            if urls.is_url(where):
                via = "".join(f", at the address in {name}" for name in _VARIABLE.findall(text))
                yield Disclosure(_place(where), f"requests for what {bound.step.name} reads{via}")
            elif _VARIABLE.fullmatch(text):
                yield Disclosure(
                    f"the address in {_VARIABLE.findall(text)[0]}, which is not set",
                    f"requests for what {bound.step.name} reads",
                )
    if fetching := [bound for bound in steps if any(_limits(list(all_settings(bound))))]:
        yield Disclosure(
            ROW_HOSTS, f"requests for media, if rows of {_list(b.step.name for b in fetching)} contain web addresses"
        )
        if private := _list(
            one_line(host)
            for b in fetching
            for limits in _limits(list(all_settings(b)))
            for host in limits.allow_private
        ):
            yield Disclosure(ROW_HOSTS, f"including private hosts: {private}")


def _hub(recipe: BoundRecipe, steps: Sequence[Bound]) -> Iterator[Disclosure]:
    token = ", with the value of HF_TOKEN" if os.environ.get("HF_TOKEN") else ""
    for bound in steps:
        if bound.step.title == "source.hub" and not os.path.exists(path := getattr(bound.settings, "path", "")):
            yield Disclosure(HUB, f"a request for the dataset {one_line(path)} of {bound.step.name}{token}")
    for name, spec in recipe.models.items():
        if (
            "base_url" in spec
            or "endpoints" in spec
            or not isinstance(model := spec.get("model"), str)
            or os.path.exists(model)
        ):
            continue
        yield Disclosure(HUB, f"a request for the model {one_line(model)} ({name}){token}")


def _people(recipe: BoundRecipe, steps: Sequence[Bound]) -> Iterator[Disclosure]:
    asking = [bound for bound in steps if bound.title == campaigns.PEOPLE]
    if not asking:
        return
    server = os.environ.get("LABEL_STUDIO_URL", "")
    to = _place(server) if server else "the server in LABEL_STUDIO_URL, which is not set"
    yield Disclosure(
        to,
        f"questions of {_list(b.step.name for b in asking)}: prompts and answers, visible to everyone who can log in",
    )
    yield Disclosure(to, f"the values of {_list(sorted(campaigns.required_secrets(recipe)))}")
    for bound in asking:
        for file in _files(bound):
            yield Disclosure(to, f"the text of the file {file}, for {bound.step.name}")
        media = getattr(bound.settings, "media", "")
        if urls.is_url(media):
            yield Disclosure(_place(media), f"media of the questions of {bound.step.name}")
        else:
            yield Disclosure(to, f"media of the questions of {bound.step.name}, as files on the server")


def _texts(tree: Any) -> Iterator[str]:
    """All strings in settings."""
    if isinstance(tree, str):
        yield tree
    elif isinstance(tree, BaseModel):
        yield from _texts([getattr(tree, name) for name, field in type(tree).model_fields.items() if not field.exclude])
    elif isinstance(tree, dict):
        yield from _texts(list(tree.values()))
    elif isinstance(tree, list | tuple):
        for value in tree:
            yield from _texts(value)


def _limits(tree: Any) -> Iterator[Limits]:
    """All fetch limits in settings."""
    if isinstance(tree, Limits):
        yield tree
    elif isinstance(tree, BaseModel):
        yield from _limits([getattr(tree, name) for name in type(tree).model_fields])
    elif isinstance(tree, dict):
        yield from _limits(list(tree.values()))
    elif isinstance(tree, list | tuple):
        for value in tree:
            yield from _limits(value)


def _place(url: str) -> str:
    """Scheme, host and port of an address, nothing else; prefixed by HERE if it is on this machine."""
    try:
        parsed = URL(url)
        host, port = parsed.host, parsed.explicit_port
    except ValueError:
        host = None
    if not host:
        return "an address that cannot be parsed"
    where = f"{parsed.scheme}://{f'[{host}]' if ':' in host else host}{f':{port}' if port else ''}"
    return f"{HERE} ({where})" if _is_loopback(host) else where


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _called(text: str) -> str:
    """A path or address, safe to print."""
    return one_line(urls.clean(text) if urls.is_url(text) else text)


def _named(variable: str) -> str:
    """A variable's name. Anything that does not look like a name may be a key written in its place, and is hidden."""
    return variable if _NAME.fullmatch(variable) else "a variable"


def _list(words: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(words))
