"""Converts rows with named columns into Samples, for all sources whose rows have columns."""

import json
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any, Literal, NamedTuple, get_args

from pipeline.media.remote import Remote
from pipeline.source.formats import unread
from pipeline.source.formats.fields import cell, check_exact, is_messages
from pipeline.source.formats.turns import medium_of, reference, split_at_tags, turns, with_system
from pipeline.source.reading.bounds import MEDIA_COLUMNS
from pipeline.source.reading.columnar import Selection, missing_columns_error
from pipeline.source.reading.conversation import MediaLookup, to_messages
from pipeline.source.reading.row_files import Row
from pipeline.storage import urls
from schemas.errors import InputError, RowError, bad_row
from schemas.operator import Context
from schemas.records import Media, Rejection, Sample, sample
from schemas.redact import Cleaner, bare_url, cleaner

Column = Literal[
    "id", "prompt", "system", "image", "images", "video", "videos", "audio", "audios",
    "answer", "answer_type", "facts", "instruction_id_list", "kwargs", "reference", "source", "licence", "split",
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
    reads: unread.Tree
    notes: unread.Unread  # what rows hold beside `reads`
    step: str
    licence: str | None  # of rows that state none
    clean: Cleaner  # removes secrets from a text
    cleaned_before: Callable[[str], str]  # the same, cached


def selection(columns: dict[Column, str]) -> Selection:
    """The columns of a table that `read` needs: those that it reads, those that reject a row, and, if none of them is a medium, those that
    seem to be one."""
    own = {*column_names(columns).values(), *unread.SYSTEM}
    media = {own_name for name, own_name in column_names(columns).items() if name in MEDIA_COLUMNS}

    def wanted(found: list[str]) -> set[str]:
        shown = not media.isdisjoint(found)
        return {n for n in found if n in own or n in unread.CHANGES or (not shown and unread.may_be_medium(n))}

    return Selection(wanted)


class Rows(NamedTuple):
    """The rows of a source, and how they are named."""

    rows: Iterable[Row]
    label: str  # the source's name in messages
    columns: dict[Column, str]  # our column -> the rows' column, if it differs
    licence: str | None = None  # of rows that state none
    selection: Selection | None = None  # of the columns of tables
    also: tuple[str, ...] = ()  # columns that the source itself has read


def read(
    source: Rows, lookup: Callable[[str], MediaLookup], remote: Remote, context: Context
) -> Iterator[Media | Sample | Rejection]:
    """Yields each row's Media, then its Sample. A bad row is a Rejection named by its place. What rows hold and nobody reads is counted in
    the context.

    `lookup` returns the media lookup for a row's folder. InputError if there are no rows, or no row has a column that `columns` names."""
    names, label, step = column_names(source.columns), source.label, context.step
    clean = cleaner()
    cached_clean = lru_cache(256)(clean)  # except for ids, rows repeat the same values
    reads = unread.tree(tuple(dict.fromkeys([f"{names['prompt']}[]", *names.values(), *unread.SYSTEM, *source.also])))
    licence = source.licence and clean(source.licence)
    rules = Rules(names, reads, context.unread, step, licence, clean, cached_clean)
    media_columns: list[tuple[str, str]] = list(
        dict.fromkeys((names[column], column.removesuffix("s")) for column in MEDIA_COLUMNS)
    )  # one column may be named for two: {images: image}
    missing = {names["prompt"], *source.columns.values()}
    values: dict | None = None
    count = 0
    for row, found, left, shown, wanted in _ahead(source, rules, media_columns, lookup, remote):
        count += 1
        try:
            if isinstance(found, RowError):
                raise found
            values = found
            missing -= values.keys()
            media, made = _sample(values, left, shown, row, lookup(row.folder), rules)
        except RowError as error:
            yield Rejection(row.place, "samples", step, error.reason, _named(row.place, error.detail))
            continue
        finally:
            for url in wanted:
                remote.drop(url)
        yield from media
        yield made
    if not count:
        raise InputError(f"{label} contains no rows; set path to a file that has some")
    if missing and values is not None:
        raise missing_columns_error(label, missing, values)


MediaValues = dict[str, Sequence]  # media kind, or "any" -> values that refer to media
Found = tuple[
    Row, dict | RowError, list[str], MediaValues, list[str]
]  # with the names that nobody reads, the media, and their URLs


def _ahead(
    source: Rows,
    rules: Rules,
    media_columns: list[tuple[str, str]],
    lookup: Callable[[str], MediaLookup],
    remote: Remote,
) -> Iterator[Found]:
    """Yields rows in order with the media they refer to; rows with URLs are held back until their downloads have been started."""
    waiting: deque[Found] = deque()
    titles, prompt = {column for column, _ in media_columns}, rules.names["prompt"]
    strict = set(rules.names.values()) - {rules.names["system"]}
    for row in source.rows:
        shown: MediaValues = {}
        left: list[str] = []
        wanted: list[str] = []
        try:
            found: dict | RowError = row.values(strict)
        except RowError as error:
            found = error
        else:
            left = list(unread.names(found, rules.reads))
            if left or (source.selection and source.selection.left):
                file = row.place.rpartition("#")[0] or source.label
                unread.count(rules.notes, file, [*left, *(source.selection.left if source.selection else ())])
            if is_messages(listed := cell(found.get(prompt))):
                found = {**found, prompt: listed}
            if not titles.isdisjoint(found):
                for column, kind in media_columns:
                    if (value := found.get(column)) is not None and (listed := _listed(value)) != shown.get(kind):
                        shown[kind] = [*shown.get(kind, ()), *listed]  # `image` may repeat `images`
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
                yield row, found, left, shown, wanted
                continue
        waiting.append((row, found, left, shown, wanted))
        while waiting and (
            not waiting[0][4] or len(waiting) > remote.ahead
        ):  # limited: rows may contain their media as bytes
            yield waiting.popleft()
    yield from waiting


def _parts(prompt: list) -> list:
    """Values in a prompt that may refer to media."""
    return [
        reference(part)
        for message in prompt
        for part in (_listed(message.get("content", message.get("value"))) if isinstance(message, dict) else ())
        if isinstance(part, dict) and medium_of(part.get("type"))
    ]


def _sample(
    values: dict, left: list[str], shown: MediaValues, row: Row, lookup: MediaLookup, rules: Rules
) -> tuple[list[Media], Sample]:
    names, clean = rules.names, rules.clean
    known: dict[str, str | None] = {
        name: _text(name, value, clean if name == "id" else rules.cleaned_before)
        for name in _KNOWN
        if (value := values.get(names[name])) is not None
    }
    own = known.pop("id", None)
    if left:
        placed = any(mark in str(values.get(names["prompt"])) for mark in ("<bbox>", "<ref-object>"))
        unread.check(values, [name for name in left if name != "objects" or placed], "prompt", of_answers=False)
    if not known.get("source"):
        known["source"] = origin(row.place, own, values.get(names["id"]), clean)
    known["licence"] = known.get("licence") or rules.licence
    facts = _with_instructions(values, names)
    prompt, system = values.get(names["prompt"]), {name: values.get(name) for name in {names["system"], *unread.SYSTEM}}
    if prompt and any(value == value and value for value in system.values()):
        prompt = with_system(turns(prompt, "prompt", tags=True), system, split_at_tags)
    messages, media = to_messages(prompt, shown, lookup)
    if left and not media:
        unread.check_media(values, left, "prompt")
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


def _with_instructions(values: dict, names: dict[str, str]) -> Any:
    """The row's facts, to which its instructions are added (google/IFEval: `instruction_id_list`, and `kwargs` whose nulls mean nothing)."""
    facts, listed = values.get(names["facts"]), cell(values.get(names["instruction_id_list"]))
    if listed is None:
        return facts
    given = cell(values.get(names["kwargs"]))
    if isinstance(given, list):
        given = [{k: v for k, v in of.items() if v is not None} if isinstance(of, dict) else of for of in given]
    known = json.loads(_facts(facts)) if facts is not None else {}
    return known | {"instruction_id_list": listed} | ({} if given is None else {"kwargs": given})


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
    if isinstance(value, str) and value.startswith("["):
        value = cell(value)  # a list in a cell of a CSV file
    return value if isinstance(value, list) else [value]
