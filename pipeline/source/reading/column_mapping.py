"""Converts rows with named columns into Samples, for all sources whose rows have columns."""

import json
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any, Literal, NamedTuple, get_args

from pipeline.media.remote import Remote
from pipeline.source.formats.fields import check_exact
from pipeline.source.reading.bounds import MEDIA_COLUMNS
from pipeline.source.reading.columnar import missing_columns_error
from pipeline.source.reading.conversation import MediaLookup, to_messages
from pipeline.source.reading.row_files import Row
from pipeline.storage import urls
from schemas.errors import InputError, RowError, bad_row
from schemas.records import MEDIA_KINDS, Media, Rejection, Sample, sample
from schemas.redact import Cleaner, bare_url, cleaner

Column = Literal[
    "id", "prompt", "image", "images", "video", "videos", "audio", "audios",
    "answer", "answer_type", "facts", "reference", "source", "licence", "split",
]  # fmt: skip


_INEXACT = re.compile(r"\\ud|e\+|\d{19}")  # possibly an unpaired surrogate, or a number beyond 64 bits
DATA = (
    "answer",
    "reference",
    "facts",
    "critique_chosen",
    "critique_rejected",
)  # never redacted: models are compared with them
_KNOWN = ("id", "answer", "answer_type", "reference", "source", "licence", "split")


def column_names(columns: dict[Column, str]) -> dict[str, str]:
    """Maps each of our column names to the name used in the rows."""
    return {name: name for name in get_args(Column)} | columns


class Rules(NamedTuple):
    """How rows of a source are converted into Samples."""

    names: dict[str, str]  # our column -> the rows' column
    step: str
    licence: str | None  # of rows that state none
    clean: Cleaner  # removes secrets from a text
    cleaned_before: Callable[[str], str]  # the same, cached


def read(
    rows: Iterable[Row], columns: dict[Column, str], lookup: Callable[[str], MediaLookup], remote: Remote, step: str, label: str,
    licence: str | None = None,
) -> Iterator[Media | Sample | Rejection]:  # fmt: skip
    """Yields each row's Media, then its Sample. A bad row is a Rejection named by its place.

    `lookup` returns the media lookup for a row's folder, `label` is the source's name in messages, `licence` applies to rows without one.
    InputError if there are no rows, or no row has a column that `columns` names."""
    names = column_names(columns)
    clean = cleaner()
    cached_clean = lru_cache(256)(clean)  # except for ids, rows repeat the same values
    rules = Rules(names, step, licence and clean(licence), clean, cached_clean)
    media_columns: list[tuple[str, str]] = [(names[column], column.removesuffix("s")) for column in MEDIA_COLUMNS]
    missing = {names["prompt"], *columns.values()}
    values: dict | None = None
    count = 0
    for row, found, shown, wanted in _ahead(rows, names["prompt"], media_columns, lookup, remote):
        count += 1
        try:
            if isinstance(found, RowError):
                raise found
            values = found
            missing -= values.keys()
            media, made = _sample(values, shown, row, lookup(row.folder), rules)
        except RowError as error:
            yield Rejection(row.place, "samples", step, error.reason, _named(row.place, error.detail))
            continue
        finally:
            for url in wanted:
                remote.drop(url)
        yield from media
        yield made
    if not count:
        raise InputError(f"{label} contains no rows; set path to a file with rows")
    if missing and values is not None:
        raise missing_columns_error(label, missing, values)


MediaValues = dict[str, Sequence]  # media kind, or "any" -> values that refer to media


def _ahead(
    rows: Iterable[Row],
    prompt: str,
    media_columns: list[tuple[str, str]],
    lookup: Callable[[str], MediaLookup],
    remote: Remote,
) -> Iterator[tuple[Row, dict | RowError, MediaValues, list[str]]]:
    """Yields rows in order with the media they refer to; rows with URLs are held back until their downloads have been started."""
    waiting: deque[tuple[Row, dict | RowError, MediaValues, list[str]]] = deque()
    titles = {column for column, _ in media_columns}
    for row in rows:
        shown: MediaValues = {}
        wanted: list[str] = []
        try:
            found: dict | RowError = row.values()
        except RowError as error:
            found = error
        else:
            if not titles.isdisjoint(found):
                for column, kind in media_columns:
                    if (value := found.get(column)) is not None:
                        shown[kind] = [*shown.get(kind, ()), *_listed(value)]
            if row.media:
                shown["any"] = row.media
            prompt_value = found.get(prompt)
            if shown or prompt_value.__class__ is list:
                place = lookup(row.folder)
                for values in (
                    (*shown.values(), _parts(prompt_value)) if isinstance(prompt_value, list) else shown.values()
                ):
                    for value in values:
                        if url := place.url(value):
                            wanted.append(url)
                            remote.start(url)
            if not waiting and not wanted:
                yield row, found, shown, wanted
                continue
        waiting.append((row, found, shown, wanted))
        while waiting and (
            not waiting[0][3] or len(waiting) > remote.ahead
        ):  # limited: rows may contain their media as bytes
            yield waiting.popleft()
    yield from waiting


def _parts(prompt: list) -> list:
    """Values in a prompt that may refer to media."""
    return [
        part.get("path")
        for message in prompt
        for part in (_listed(message.get("content")) if isinstance(message, dict) else ())
        if isinstance(part, dict) and part.get("type") in MEDIA_KINDS
    ]


def _sample(
    values: dict, shown: MediaValues, row: Row, lookup: MediaLookup, rules: Rules
) -> tuple[list[Media], Sample]:
    names, clean = rules.names, rules.clean
    known: dict[str, str | None] = {
        name: _text(name, value, clean if name == "id" else rules.cleaned_before)
        for name in _KNOWN
        if (value := values.get(names[name])) is not None
    }
    own = known.pop("id", None)
    if not known.get("source"):
        known["source"] = origin(row.place, own, values.get(names["id"]), clean)
    known["licence"] = known.get("licence") or rules.licence
    facts = values.get(names["facts"])
    messages, media = to_messages(values.get(names["prompt"]), shown, lookup)
    return media, sample(messages, facts=None if facts is None else _facts(facts), step=rules.step, **known)


def _named(place: str, detail: str) -> str:
    return detail if detail.startswith(place) else f"{place}: {detail}"


def origin(place: str, cleaned: str | None, own: Any, clean: Callable[[str], str]) -> str:
    """The `source` of a row at `file#number` whose id is `own`, or `cleaned` once secrets are removed. If that changed the id, the
    number is appended, so that different rows keep different sources."""
    file, _, number = place.rpartition("#")
    if not number.isdecimal():  # the name of a sample in a shard
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
        return clean(bare_url(value) if name == "source" and urls.is_url(value) else value)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise bad_row(f"{name} is {type(value).__name__}; use a text")


def _facts(value: Any) -> str:
    """The facts as JSON with sorted keys. RowError BAD_ROW if they are not a JSON object."""
    try:
        found = json.loads(value) if isinstance(value, str) else value
        text = json.dumps(found, sort_keys=True, separators=(",", ":"), allow_nan=False)
        if _INEXACT.search(text):
            check_exact(found, "facts")
    except (ValueError, TypeError, RecursionError) as error:
        raise bad_row(f"facts are not valid JSON ({error}); correct them") from error
    if not isinstance(found, dict):
        raise bad_row(f"facts are {type(found).__name__}; use a JSON object")
    return text


def _listed(value: Any) -> list:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]
