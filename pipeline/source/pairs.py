"""Existing preference sets, in the formats in which trainers and papers keep them: their prompts, answers, ratings and pairs."""

import json
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from itertools import chain, islice
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import Field

from pipeline.dataset import manifest
from pipeline.media.fetch import Limits
from pipeline.media.remote import Remote
from pipeline.source.formats.draft import Answer, Draft, Pairing
from pipeline.source.formats.fields import Cell, Row, kind, text
from pipeline.source.formats.registry import DIALECTS, guess
from pipeline.source.reading import bounds, json_rows, row_files
from pipeline.source.reading.column_mapping import DATA, origin
from pipeline.source.reading.conversation import MediaLookup, own_folders, schemes_for, to_messages
from pipeline.storage.local_files import kind_of
from pipeline.storage.urls import Place
from schemas.errors import InputError, RowError, bad_row
from schemas.operator import Context
from schemas.operator import OperatorSettings as Base
from schemas.records import (
    SAMPLE_KINDS,
    Candidate,
    Finding,
    Judgement,
    Media,
    Pair,
    Provenance,
    Reason,
    Rejection,
    Sample,
    candidate,
    digest,
    judgement,
    one_line,
    sample,
)  # fmt: skip
from schemas.records import pair as laid
from schemas.redact import clean, cleaner

READS = ()
LEAVES = ("media", "samples", "candidates", "judgements", "pairs")
MEDIA = SAMPLE_KINDS
SCOPE = "sample"
VERSION = 2
ROLES = ("chosen", "rejected")

Format = Literal[
    "auto", "trl", "llama_factory", "ms_swift", "rlaif_v", "vlfeedback", "mm_rlhf", "mmpr", "llava", "ultrafeedback", "distilabel",
    "label_studio", "pairwright", "vl_rewardbench", "multimodal_rewardbench", "mllm_judge",
]  # fmt: skip
Record = Media | Sample | Candidate | Judgement | Pair | Rejection
_LOOKED_AT = 64  # rows whose columns are looked at to tell the format: optional ones may be absent from the first


class Settings(Base):
    path: Place | tuple[Place, ...] = Field(min_length=1)
    """A file of rows (.jsonl, .json, .csv, .tsv, .parquet, .arrow), a folder of them, here or at a URL, or several of these."""
    format: Format = "auto"
    """What wrote the rows; `auto` tells it from each file's columns."""
    columns: dict[str, str] = Field({})
    """What the file calls the format's columns, where not as the format does: {chosen: better}."""
    media_root: Place | None = None
    """Folder or URL that media paths are relative to; the folder of the row's file when absent."""
    licence: str | None = None
    """Licence of the rows that do not state one."""
    limit: int | None = Field(None, ge=1)
    """How many rows are read at most, good and bad; all when absent."""
    fetch: Limits = Limits()
    """What may be fetched from URLs."""


class Found(NamedTuple):
    """A file of rows and what its format is; none when it is none of those known."""

    file: str  # path or URL
    label: str  # what its rows are called in rejections
    format: str | None
    why: str


def read(settings: Settings, context: Context) -> Iterator[Record]:
    """For each row the Media it shows, its Sample, and behind it the Candidates (in the order of their ids), Judgements and Pairs the row holds.
    What the row calls its `category`, in any format, is the Sample's `split`.

    A row that is no good is a Rejection named `file#number`, from 1, and so is a file of no known format; an empty answer among several is
    one of its own, and what was said of it goes with it. Rows of an equal prompt come as they stand, each with its Sample: whoever reads them puts them together.
    InputError when a file cannot be read, and when not a single row could be; DamageError when a dataset of Pairwright's own is not as
    it was exported."""
    first: str | None = None
    good, told = 0, lru_cache(1024)(cleaner())  # rows name the same models and sources again and again
    with Remote(settings.fetch, context.media, context.cache) as remote:
        schemes = schemes_for(settings.fetch, *_paths(settings), settings.media_root)

        @lru_cache(1)
        def shelf(folder: str) -> MediaLookup:
            within = own_folders(folder, settings.media_root)
            return MediaLookup(settings.media_root or folder, context.media, remote, within, schemes)

        for place, folder, row, found in islice(_rows(settings), settings.limit):
            try:
                draft = _told(_draft(row, found, settings), place, told)
                records = _records(draft, place, settings, shelf(folder), context)
            except RowError as error:
                detail = one_line(f"{place}: {error.detail}")
                first = first or detail
                yield Rejection(place, "samples", context.step, error.reason, detail)
                continue
            good += 1
            yield from records
    if not good:
        why = f"the first problem is {first}" if first else "there are no rows"
        raise InputError(f"no row of {_said(settings.path)} could be read; {why}")


def formats(settings: Settings) -> Iterator[Found]:
    """The files of rows and their formats, in order. InputError as `read` raises it."""
    for path in _paths(settings):
        for file, label in row_files.listed(path):
            if file != path and (strange := kind_of(file)):
                yield Found(file, label, None, f"it is {strange}; remove it")
            else:
                yield Found(file, label, *_format(file, settings))


def _rows(settings: Settings) -> Iterator[tuple[str, str, Any, Found]]:
    """Each row's place, the folder its media lie in, the row and its file; a file of no known format is a row of its own."""
    checked: set[Path] = set()
    for found in formats(settings):
        if found.format is None:
            yield found.label, "", None, found
            continue
        dataset = manifest.folder_of(found.file) if found.format == "pairwright" else None
        if dataset is not None and dataset not in checked:
            manifest.check(dataset)
            checked.add(dataset)
        for row in row_files.read(found.file, fetch=settings.fetch):
            yield f"{found.label}#{row.place.rpartition('#')[2]}", row.folder, _parsed(row.raw, found.file), found


def _parsed(raw: row_files.Raw, file: str) -> Any:
    """What a line holds; bytes when it is no JSON, a RowError when it is too large. A cell of a CSV file that holds a list or an object in JSON is that; any other
    is a text that may stand for a number."""
    if isinstance(raw, dict) and any(end in file for end in (".csv", ".tsv")):
        return {name: _cell(value) for name, value in raw.items()}
    if not isinstance(raw, bytes):
        return raw
    try:
        return json_rows.parse(raw, "line")
    except RowError as error:
        if len(raw) > bounds.TEXT:
            return error.with_traceback(None)  # which holds the row
    try:
        return json.loads(raw)  # it takes the NaN that Python writes, so that the field can be named
    except (ValueError, RecursionError):
        return raw


def _cell(value: str | None) -> Any:
    if value and value[0] in "[{" and len(value) <= bounds.TEXT:
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            pass
    return value and Cell(value)


def _format(file: str, settings: Settings) -> tuple[str | None, str]:
    if settings.format != "auto":
        return settings.format, "as you say"
    found = (_parsed(row.raw, file) for row in islice(row_files.read(file, fetch=settings.fetch), _LOOKED_AT))
    rows = [_renamed(row, settings) for row in found if isinstance(row, dict)]
    columns = list(dict.fromkeys(chain.from_iterable(rows)))
    has = f"it has {', '.join(columns)}" if columns else "it has no rows with columns"
    return guess(columns) or (None, f"{has}; name its format ({', '.join(DIALECTS)}) and its columns, or take it away")


def _draft(row: Any, found: Found, settings: Settings) -> Draft:
    if found.format is None:
        raise bad_row(f"the file is of no known format: {found.why}")
    if isinstance(row, RowError):
        raise row
    if isinstance(row, bytes):
        raise bad_row("the line is not JSON; mend it")
    if not isinstance(row, dict):
        raise bad_row(f"the row is {kind(row)}, not an object; write it as {{...}}")
    row = _renamed(row, settings)
    draft = DIALECTS[found.format].read(row)
    if "split" in draft.known or not row.get("category"):
        return draft
    return draft._replace(known={**draft.known, "split": text(row["category"], "category")})


def _renamed(row: Row, settings: Settings) -> Row:
    if not settings.columns:
        return row
    return {**row, **{name: row.get(other) for name, other in settings.columns.items()}}


def _told(draft: Draft, place: str, told: Callable[[str], str]) -> Draft:
    """The Draft without secrets in what says where it is from and who made it; what was asked and answered stays as it is."""
    known = {"source": origin(place, draft.id and told(draft.id), draft.id, told), **_cleaned(draft.known, told)}
    return draft._replace(
        answers=tuple([a if a.model is None else a._replace(model=told(a.model)) for a in draft.answers]),
        said=tuple([said._replace(annotator=told(said.annotator), axis=told(said.axis)) for said in draft.said]),
        pairs=tuple([p._replace(known=_cleaned(p.known, told)) for p in draft.pairs]),
        known=known,
    )


def _cleaned(known: Mapping[str, Any], told: Callable[[str], str]) -> dict[str, Any]:
    return {name: told(of) if isinstance(of, str) and name not in DATA else of for name, of in known.items()}


def _records(draft: Draft, place: str, settings: Settings, shelf: MediaLookup, context: Context) -> list[Record]:
    """All that a row becomes, in the order in which it is yielded."""
    messages, media = to_messages([_message(turn.role, turn.pieces) for turn in draft.prompt], {}, shelf)
    others = [[shelf.find(v, m.kind) for v, m in zip(p.rejected_media or (), media)] for p in draft.pairs]
    ranked = [[shelf.find(value, medium) for medium, value in p.ranked] for p in draft.pairs]
    licence = settings.licence and clean(settings.licence)
    made = sample(messages, step=context.step, **{"licence": licence, **draft.known})
    out: list[Record] = [*media, *chain.from_iterable([*others, *ranked]), made]
    answers = _answers(draft, made.id, context.step)
    for i, answer in enumerate(answers):
        if not answer.text.strip():
            detail = f"{place}: answer {i + 1} of {len(answers)} is empty; write it or drop it"
            out.append(Rejection(f"{place}~{i + 1}", "candidates", context.step, Reason.EMPTY_ANSWER, detail, made.id))
    filled = {answer.id for answer in answers if answer.text.strip()}
    slips = [
        judgement(
            made.id, context.step, "candidate" if len(said.items) == 1 else "pair", tuple(answers[i].id for i in said.items),
            said.axis, Finding(said.outcome, said.value, raw=said.raw), Provenance(said.annotator),
        )
        for said in draft.said
    ]  # fmt: skip
    slips = [slip for slip in slips if filled.issuperset(slip.items)]
    pairs = [
        _pair(p, [m.id for m in o], [m.id for m in r], answers, slips, context)
        for p, o, r in zip(draft.pairs, others, ranked, strict=True)
    ]
    # by their ids, which tell nothing: whoever shows them in order must not have the chosen one first
    kept = sorted((answer for answer in answers if answer.id in filled), key=lambda answer: answer.id)
    return [*out, *kept, *slips, *pairs]


def _message(role: str, pieces) -> dict[str, Any]:
    parts = [{"type": k, "text": value} if k == "text" else {"type": k, "path": value} for k, value in pieces]
    return {"role": role, "content": parts}


def _answers(draft: Draft, name: str, step: str) -> list[Candidate]:
    """The candidates; `index` counts the earlier ones of the same text and model, so that an answer is the same one in every row."""
    seen: dict[Answer, int] = {}
    out = []
    for answer in draft.answers:
        same = answer._replace(role=None)
        out.append(candidate(name, step, answer.text, role=answer.role, model=answer.model, index=seen.get(same, 0)))
        seen[same] = seen.get(same, 0) + 1
    return out


def _pair(
    pairing: Pairing,
    other: list[str],
    ranked: list[str],
    answers: list[Candidate],
    slips: list[Judgement],
    context: Context,
) -> Pair:
    chosen = answers[pairing.chosen]
    known: dict[str, Any] = {"recipe": context.recipe, **pairing.known}
    if pairing.rejected is None:
        about = digest(chosen.sample, context.step, chosen.id, None)
        return Pair(
            about,
            chosen.sample,
            context.step,
            chosen.text,
            None,
            chosen_id=chosen.id,
            generator_chosen=chosen.model,
            **known,
        )
    rejected = answers[pairing.rejected]
    both = {chosen.id, rejected.id}
    compared = [s.id for s in slips if set(s.items) == both and s.target == "pair"]
    rated = [s.id for s in slips if s.target == "candidate" and s.items[0] in both]
    made = laid(chosen.sample, context.step, chosen, rejected, judgements=tuple(compared or rated), **known)
    if pairing.rejected_media is None:
        return made
    return made._replace(
        id=digest(made.id, other),
        rejected_media=tuple(other),
        media_list=tuple(ranked) or None,
        pair_kind="media" if chosen.text == rejected.text else "mixed",
    )


def _paths(settings: Settings) -> tuple[str, ...]:
    return (settings.path,) if isinstance(settings.path, str) else settings.path


def _said(path: str | tuple[str, ...]) -> str:
    return path if isinstance(path, str) else ", ".join(path)
