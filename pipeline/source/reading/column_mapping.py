"""Rows with named columns as Samples, for every source whose rows have columns."""

import json
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any, Literal, NamedTuple, get_args

from pipeline.media.remote import Remote
from pipeline.source.formats.fields import exact
from pipeline.source.reading.bounds import MEDIA_COLUMNS
from pipeline.source.reading.columnar import no_columns
from pipeline.source.reading.conversation import MediaLookup, to_messages
from pipeline.source.reading.row_files import Row
from pipeline.storage import urls
from schemas.errors import InputError, RowError, bad_row
from schemas.records import MEDIA_KINDS, Media, Rejection, Sample, sample
from schemas.redact import Cleaner, address, cleaner

Column = Literal[
    "id", "prompt", "image", "images", "video", "videos", "audio", "audios",
    "answer", "answer_type", "facts", "reference", "source", "licence", "split",
]  # fmt: skip


_INEXACT = re.compile(r"\\ud|e\+|\d{19}")  # what may be half of a surrogate pair, or a number beyond 64 bits
DATA = (
    "answer",
    "reference",
    "facts",
    "critique_chosen",
    "critique_rejected",
)  # of these nothing is cut: models are held against them
_KNOWN = ("id", "answer", "answer_type", "reference", "source", "licence", "split")


def names_of(columns: dict[Column, str]) -> dict[str, str]:
    """What the rows call each of our columns."""
    return {name: name for name in get_args(Column)} | columns


class Rules(NamedTuple):
    """How the rows of a source become Samples."""

    names: dict[str, str]  # our column -> what the rows call it
    step: str
    licence: str | None  # of rows that name none
    clean: Cleaner  # takes secrets out of a text
    cleaned_before: Callable[[str], str]  # the same, which remembers what it gave


def read(
    rows: Iterable[Row], columns: dict[Column, str], shelf: Callable[[str], MediaLookup], remote: Remote, step: str, said: str,
    licence: str | None = None,
) -> Iterator[Media | Sample | Rejection]:  # fmt: skip
    """One Sample a row, behind the Media it shows. A row that is no good is a Rejection named by its place.

    `shelf` gives the media of rows by their folder, `said` is what the source is called, `licence` is that of rows without one.
    InputError when there are no rows, or when none has a column that `columns` names."""
    names = names_of(columns)
    clean = cleaner()
    said_before = lru_cache(256)(clean)  # but for ids, rows say the same again and again
    rules = Rules(names, step, licence and clean(licence), clean, said_before)
    holding: list[tuple[str, str]] = [(names[column], column.removesuffix("s")) for column in MEDIA_COLUMNS]
    missing = {names["prompt"], *columns.values()}
    held: dict | None = None
    count = 0
    for row, found, shown, wanted in _ahead(rows, names["prompt"], holding, shelf, remote):
        count += 1
        try:
            if isinstance(found, RowError):
                raise found
            held = found
            missing -= held.keys()
            media, made = _sample(held, shown, row, shelf(row.folder), rules)
        except RowError as error:
            yield Rejection(row.place, "samples", step, error.reason, _named(row.place, error.detail))
            continue
        finally:
            for url in wanted:
                remote.drop(url)
        yield from media
        yield made
    if not count:
        raise InputError(f"{said} holds no rows; set path to a file that has some")
    if missing and held is not None:
        raise no_columns(said, missing, held)


Shown = dict[str, Sequence]  # kind of media, or "any" -> what names them


def _ahead(
    rows: Iterable[Row],
    prompt: str,
    holding: list[tuple[str, str]],
    shelf: Callable[[str], MediaLookup],
    remote: Remote,
) -> Iterator[tuple[Row, dict | RowError, Shown, list[str]]]:
    """The rows in order with what their columns show, some of them held back until the media they name by URLs are on their way."""
    waiting: deque[tuple[Row, dict | RowError, Shown, list[str]]] = deque()
    titles = {column for column, _ in holding}
    for row in rows:
        shown: Shown = {}
        wanted: list[str] = []
        try:
            found: dict | RowError = row.values()
        except RowError as error:
            found = error
        else:
            if not titles.isdisjoint(found):
                for column, kind in holding:
                    if (value := found.get(column)) is not None:
                        shown[kind] = [*shown.get(kind, ()), *_listed(value)]
            if row.media:
                shown["any"] = row.media
            said = found.get(prompt)
            if shown or said.__class__ is list:
                place = shelf(row.folder)
                for values in (*shown.values(), _parts(said)) if isinstance(said, list) else shown.values():
                    for value in values:
                        if url := place.url(value):
                            wanted.append(url)
                            remote.start(url)
            if not waiting and not wanted:
                yield row, found, shown, wanted
                continue
        waiting.append((row, found, shown, wanted))
        while waiting and (not waiting[0][3] or len(waiting) > remote.ahead):  # rows may carry the bytes of their media
            yield waiting.popleft()
    yield from waiting


def _parts(prompt: list) -> list:
    """Whatever in a prompt may name a medium."""
    return [
        part.get("path")
        for message in prompt
        for part in (_listed(message.get("content")) if isinstance(message, dict) else ())
        if isinstance(part, dict) and part.get("type") in MEDIA_KINDS
    ]


def _sample(held: dict, shown: Shown, row: Row, shelf: MediaLookup, rules: Rules) -> tuple[list[Media], Sample]:
    names, clean = rules.names, rules.clean
    known: dict[str, str | None] = {
        name: _text(name, value, clean if name == "id" else rules.cleaned_before)
        for name in _KNOWN
        if (value := held.get(names[name])) is not None
    }
    own = known.pop("id", None)
    if not known.get("source"):
        known["source"] = origin(row.place, own, held.get(names["id"]), clean)
    known["licence"] = known.get("licence") or rules.licence
    facts = held.get(names["facts"])
    messages, media = to_messages(held.get(names["prompt"]), shown, shelf)
    return media, sample(messages, facts=None if facts is None else _facts(facts), step=rules.step, **known)


def _named(place: str, detail: str) -> str:
    return detail if detail.startswith(place) else f"{place}: {detail}"


def origin(place: str, cleaned: str | None, own: Any, clean: Callable[[str], str]) -> str:
    """The source of a row at `file#number` that calls itself `own`, or, without secrets, `cleaned`: the number is said too where
    some were cut, so that two rows stay two."""
    file, _, number = place.rpartition("#")
    if not number.isdecimal():  # a name in a shard
        number = clean(number)
    name = cleaned if cleaned == str(own) else f"{cleaned}~{number}"
    return f"{_file(file, clean)}#{name if cleaned else number}"


@lru_cache(4)
def _file(name: str, clean: Callable[[str], str]) -> str:
    return clean(name)


def _text(name: str, value: Any, clean: Callable[[str], str]) -> str:
    if isinstance(value, str):
        if name in DATA:
            return value
        return clean(address(value) if name == "source" and urls.is_url(value) else value)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise bad_row(f"{name} is {type(value).__name__}; make it a text")


def _facts(value: Any) -> str:
    """JSON with sorted keys."""
    try:
        found = json.loads(value) if isinstance(value, str) else value
        text = json.dumps(found, sort_keys=True, separators=(",", ":"), allow_nan=False)
        if _INEXACT.search(text):
            exact(found, "facts")
    except (ValueError, TypeError, RecursionError) as error:
        raise bad_row(f"facts are not JSON ({error}); correct them") from error
    if not isinstance(found, dict):
        raise bad_row(f"facts are {type(found).__name__}; make them an object")
    return text


def _listed(value: Any) -> list:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]
