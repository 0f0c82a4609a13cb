"""Imports existing preference sets in the formats of trainers and papers: prompts, answers, ratings and pairs."""

import json
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import lru_cache
from itertools import chain, islice
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import Field

from pipeline.dataset import manifest
from pipeline.media.fetch import Limits
from pipeline.media.remote import Remote
from pipeline.source.formats import label_studio, llama_factory, unread
from pipeline.source.formats.draft import Answer, Draft, DraftPair
from pipeline.source.formats.fields import Cell, Row, cell, is_messages, is_missing, text, type_name
from pipeline.source.formats.label_studio import Names as LabelStudioNames
from pipeline.source.formats.registry import FORMATS, detect
from pipeline.source.formats.turns import is_slot, split_at_tags, with_system, without_chunk_ends
from pipeline.source.reading import bounds, json_rows, row_files
from pipeline.source.reading.column_mapping import DATA, origin
from pipeline.source.reading.conversation import MediaLookup, own_folders, schemes_for, to_messages
from pipeline.storage import urls
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
from schemas.records import pair as make_pair
from schemas.redact import clean, cleaner
from schemas.text import same_text

READS = ()
LEAVES = ("media", "samples", "candidates", "judgements", "pairs")
MEDIA = SAMPLE_KINDS
SCOPE = "sample"
VERSION = 3
ROLES = ("chosen", "rejected")

Format = Literal[
    "auto", "trl", "llama_factory", "ms_swift", "rlaif_v", "vlfeedback", "mm_rlhf", "mmpr", "llava", "ultrafeedback", "distilabel",
    "label_studio", "pairwright", "vl_rewardbench", "multimodal_rewardbench", "mllm_judge", "rlhf_v", "llava_rlhf", "nemo_rl", "openai",
    "argilla", "pku_saferlhf", "nectar", "helpsteer", "hh_rlhf", "pick_a_pic", "orpo_mix", "data_juicer", "verl", "verl_omni", "omni_preference",
]  # fmt: skip
Describe = Callable[[Path], Any]  # folder -> the content of its description
Record = Media | Sample | Candidate | Judgement | Pair | Rejection
_TEXTS = frozenset(
    {
        "prompt",
        "question",
        "query",
        "instruction",
        "chosen",
        "rejected",
        "completion",
        "answer",
        "solution",
        "answer_gt",
    }
)
"""Columns of CSV files in which [1, 2] is a text; messages are messages in these too."""
_DESCRIPTION = "dataset_info.json"  # of LLaMA-Factory; that of `datasets` describes no files
_PROBED = 64  # rows used to detect the format: optional columns may be absent from the first


class Settings(Base):
    path: Place | tuple[Place, ...] = Field(min_length=1)
    """a file of rows (.jsonl, .json, .csv, .tsv, .parquet, .arrow) or a folder of them, local or a URL, or a list of these"""
    format: Format = "auto"
    """the format of the rows; `auto` detects it from each file's columns"""
    columns: dict[str, str] = Field({})
    """column names used in the file, if different from the format's: {chosen: better}"""
    media_root: Place | None = None
    """folder or URL that media paths are relative to; by default the folder of the row's file"""
    licence: str | None = None
    """licence of rows that state none"""
    limit: int | None = Field(None, ge=1)
    """maximum number of rows read, valid or not; no limit by default"""
    fetch: Limits = Limits()
    """limits on fetching from URLs"""
    label_studio: LabelStudioNames = LabelStudioNames()
    """how the project of a Label Studio export named its fields, controls, choices and buckets: {choices: {"Ours is better": first}}"""


class FileFormat(NamedTuple):
    """A file of rows and its format; None if the format is unknown."""

    file: str  # path or URL
    label: str  # name used in rejections
    format: str | None
    why: str  # how the format was determined, or why it could not be
    columns: Mapping[str, str] = {}  # the format's column -> the file's, if they differ
    tags: Mapping[str, str] = llama_factory.TAGS  # the keys and roles of messages
    detected: bool = False  # by its columns


def read(settings: Settings, context: Context) -> Iterator[Record]:
    """Yields for each row its Media and Sample, then its Candidates (ordered by id), Judgements and Pairs.

    In any format, a `category` column becomes the Sample's `split`, and a `system` column the prompt's first message. What a row contains
    beside the format's READS is counted in the context, and rejects the row if it is known to change its meaning. A bad row is a Rejection named `file#number` (from 1), and so is a
    file of unknown format. An empty answer among several is a Rejection of its own, and its judgements are dropped. Rows with the same
    prompt are yielded as read, each with its own Sample; the caller merges them.
    InputError if a file cannot be read, or not a single row is valid. DamageError if a Pairwright dataset differs from what was exported."""
    first: str | None = None
    good, cleaned = 0, lru_cache(1024)(cleaner())  # cached: rows repeat the same models and sources
    with Remote(settings.fetch, context.media, context.cache) as remote:
        schemes = schemes_for(settings.fetch, *_paths(settings), settings.media_root)

        @lru_cache(1)
        def lookup(folder: str) -> MediaLookup:
            within = own_folders(folder, settings.media_root)
            return MediaLookup(settings.media_root or folder, context.media, remote, within, schemes)

        for place, folder, row, found in islice(_rows(settings), settings.limit):
            try:
                draft = _without_secrets(_draft(row, found, context.unread, settings.label_studio), place, cleaned)
                records = _records(draft, place, settings, lookup(folder), context)
            except RowError as error:
                detail = one_line(f"{place}: {error.detail}")
                first = first or detail
                yield Rejection(place, "samples", context.step, error.reason, detail)
                continue
            good += 1
            yield from records
    if not good:
        why = f"first error: {first}" if first else "there are no rows"
        raise InputError(f"cannot read any row of {_listed(settings.path)}; {why}")


def detect_formats(settings: Settings) -> Iterator[FileFormat]:
    """The files of rows with their formats, in order. Raises InputError like `read`."""
    describe = lru_cache(4)(_description)
    for path in _paths(settings):
        for file, label in row_files.list_row_files(path):
            if file != path and (strange := kind_of(file)):
                yield FileFormat(file, label, None, f"it is {strange}, not a regular file; remove it")
            else:
                yield _format(file, label, settings, describe)


def _rows(settings: Settings) -> Iterator[tuple[str, str, Any, FileFormat]]:
    """(place, media folder, row, file) of each row; a file of unknown format counts as one row."""
    checked: set[Path] = set()
    for found in detect_formats(settings):
        if found.format is None:
            yield found.label, "", None, found
            continue
        dataset = manifest.folder_of(found.file) if found.format == "pairwright" else None
        if dataset is not None and dataset not in checked:
            manifest.check(dataset)
            checked.add(dataset)
        for row in row_files.read(found.file, fetch=settings.fetch):
            yield f"{found.label}#{row.place.rpartition('#')[2]}", row.folder, _parsed(row, found.columns), found


def _parsed(row: row_files.Row, columns: Mapping[str, str]) -> Any:
    """The value of a line: bytes if it is not JSON, a RowError if it is too large. In CSV files, a cell that contains a list or an object
    in JSON's or Python's spelling is parsed, and any other cell is a text that may be read as a number."""
    raw = row.raw
    if isinstance(raw, dict):
        texts = _TEXTS.union(columns[name] for name in _TEXTS & columns.keys())
        return {name: _cell(value, name, texts) for name, value in raw.items()} if row.cells else raw
    if not isinstance(raw, bytes):
        return raw
    try:
        return json_rows.parse(raw, "line")
    except RowError as error:
        if error.reason != Reason.BAD_ROW:
            return error.with_traceback(None)  # the traceback would keep the row in memory
    try:
        found = json.loads(raw)  # accepts NaN: nobody may read it, and where it is read, the error names the field
        if isinstance(found, dict) and len(raw) > bounds.TEXT:
            bounds.check(found)
    except (ValueError, RecursionError):
        return raw
    except RowError as error:
        return error.with_traceback(None)
    return found


def _cell(value: str | None, name: str, texts: frozenset[str]) -> Any:
    found = cell(value)
    return (value and Cell(value)) if found is value or (name in texts and not is_messages(found)) else found


def _format(file: str, label: str, settings: Settings, describe: Describe) -> FileFormat:
    if settings.format in ("auto", "llama_factory") and (described := _described(file, describe)):
        columns, tags = described
        why = f"{_DESCRIPTION} describes it"
        return FileFormat(file, label, "llama_factory", why, {**columns, **settings.columns}, tags)
    if settings.format != "auto":
        return FileFormat(file, label, settings.format, "set by `format`", settings.columns)
    probed = islice(row_files.read(file, fetch=settings.fetch), _PROBED)
    found = [_parsed(row, settings.columns) for row in probed]
    rows = [_renamed(row, settings.columns) for row in found if isinstance(row, dict)]
    if not found:
        return FileFormat(file, label, None, "it has no rows; remove the file")
    if all(isinstance(row, bytes) for row in found):
        return FileFormat(
            file, label, None, "none of its first lines is a JSON object; write each row as {...} on a line of its own"
        )
    if not rows and (error := next((row for row in found if isinstance(row, RowError)), None)):
        return FileFormat(file, label, None, f"its first row cannot be read: {error.detail}")
    columns: dict[str, Any] = {}  # with their first values
    for row in rows:
        columns |= {name: value for name, value in row.items() if columns.get(name) is None}
    has = f"its columns are {', '.join(columns)}" if columns else "no row has columns"
    if likely := unread.answers_in(columns):
        look = "looks like an answer" if len(likely) == 1 else "look like answers"
        has += f" ({', '.join(likely)} {look}, so its rows are not prompts alone)"
    unknown = f"{has}; set format ({', '.join(FORMATS)}) and columns, or remove the file"
    name, why = detect(columns) or (None, unknown)
    return FileFormat(file, label, name, why, settings.columns, detected=True)


def _described(file: str, describe: Describe) -> tuple[dict[str, str], dict[str, str]] | None:
    """What LLaMA-Factory's description in the folder of a local file, or the folder above, says of it; None if there is none."""
    if urls.is_url(file):
        return None
    path = Path(file).absolute()
    found = (llama_factory.described(describe(up), path.relative_to(up).as_posix()) for up in list(path.parents)[:2])
    return next(filter(None, found), None)


def _description(folder: Path) -> Any:
    path = folder / _DESCRIPTION
    if not path.is_file():  # a pipe would never end
        return None
    try:
        with path.open("rb") as opened:
            return json.loads(opened.read(bounds.LONGEST))
    except (OSError, ValueError, RecursionError):
        return None


def _draft(row: Any, found: FileFormat, notes: unread.Unread, names: LabelStudioNames) -> Draft:
    if found.format is None:
        raise bad_row(f"the file's format is unknown: {found.why}")
    if isinstance(row, RowError):
        raise row
    if isinstance(row, bytes):
        raise bad_row("the line is not valid JSON; correct it")
    if not isinstance(row, dict):
        raise bad_row(f"the row is {type_name(row)}, not an object; write it as {{...}}")
    module, mapped = FORMATS[found.format], frozenset(found.columns.values())
    if module is label_studio:
        row = label_studio.prepared(row, names)
    covered = [name for name in found.columns if name in row and name not in mapped]  # by the column named instead
    row = llama_factory.with_usual_tags(_with_messages(_renamed(row, found.columns), module.READS), found.tags)
    seen = {name: value for name, value in row.items() if name not in mapped or name in found.columns}
    left = list(unread.names(seen, _reads(found.format)))
    unread.count(notes, found.label, [*left, *covered])
    unread.check(seen, left, found.format)
    try:
        draft = label_studio.read(row, names) if module is label_studio else module.read(row)
    except RowError:
        if not any(unread.seems_medium(name) and row[name] for name in row if name not in left):
            unread.check_media(row, left, found.format)  # the cause, if the prompt has places for media
        raise
    if not draft.answers and found.detected and (likely := unread.answers_in(left)):
        one = len(likely) == 1
        detail = (
            f"{', '.join(likely)} {'looks like an answer, but is' if one else 'look like answers, but are'} not read from {found.format} rows; "
            "set format and columns, or remove the row"
        )
        raise RowError(Reason.NOT_READ, detail)
    draft = draft._replace(answers=tuple([a._replace(text=without_chunk_ends(a.text)) for a in draft.answers]))
    if not any(kind != "text" for turn in draft.prompt for kind, _ in turn.pieces):
        unread.check_media(row, left, found.format)
    prompt = with_system(draft.prompt, {name: row.get(name) for name in unread.SYSTEM}, split_at_tags)
    if any(kind != "text" and is_slot(value) for turn in prompt[:1] for kind, value in turn.pieces):
        raise bad_row(
            f"{unread.SYSTEM[0]} contains the place of a medium; write the system prompt as the first message"
        )
    draft = draft._replace(prompt=prompt)
    if "split" in draft.known or is_missing(row.get("category")):
        return draft
    return draft._replace(known={**draft.known, "split": text(row["category"], "category")})


def _with_messages(row: Row, reads: Collection[str]) -> Row:
    """The row with the messages that its columns of messages hold as JSON or Python texts. An answer may quote a conversation: both sides are
    read so, or none."""
    written = {
        name: found
        for name, value in row.items()
        if isinstance(value, str) and f"{name}[]" in reads and is_messages(found := cell(value))
    }
    if written.keys() & set(ROLES) and not set(ROLES) <= written.keys():
        written = {name: found for name, found in written.items() if name not in ROLES}
    return {**row, **written} if written else row


@lru_cache
def _reads(format: str) -> unread.Tree:
    return unread.tree((*FORMATS[format].READS, *unread.COMMON))


def _renamed(row: Row, columns: Mapping[str, str]) -> Row:
    """The row under the format's names. Other columns stay, but media that are named by another column are not there twice."""
    if not columns:
        return row
    moved = {other for name, other in columns.items() if name in unread.MEDIA and other not in columns}
    kept = {name: value for name, value in row.items() if name not in moved} if moved else row
    return {**kept, **{name: row.get(other) for name, other in columns.items()}}


def _without_secrets(draft: Draft, place: str, cleaned: Callable[[str], str]) -> Draft:
    """The Draft with secrets removed from source and model names; prompts and answers are not changed."""
    known = {
        "source": origin(place, draft.id and cleaned(draft.id), draft.id, cleaned),
        **_cleaned(draft.known, cleaned),
    }
    return draft._replace(
        answers=tuple([a if a.model is None else a._replace(model=cleaned(a.model)) for a in draft.answers]),
        said=tuple([vote._replace(annotator=cleaned(vote.annotator), axis=cleaned(vote.axis)) for vote in draft.said]),
        pairs=tuple([p._replace(known=_cleaned(p.known, cleaned)) for p in draft.pairs]),
        known=known,
    )


def _cleaned(known: Mapping[str, Any], cleaned: Callable[[str], str]) -> dict[str, Any]:
    return {name: cleaned(v) if isinstance(v, str) and name not in DATA else v for name, v in known.items()}


def _records(draft: Draft, place: str, settings: Settings, lookup: MediaLookup, context: Context) -> list[Record]:
    """All records of a row, in the order in which they are yielded."""
    messages, media = to_messages(draft.prompt, {}, lookup)
    others = [[lookup.find(v, m.kind) for v, m in zip(p.rejected_media or (), media)] for p in draft.pairs]
    ranked = [[lookup.find(value, medium) for medium, value in p.ranked] for p in draft.pairs]
    licence = settings.licence and clean(settings.licence)
    made = sample(messages, step=context.step, **{"licence": licence, **draft.known})
    out: list[Record] = [*media, *chain.from_iterable([*others, *ranked]), made]
    answers = _answers(draft, made.id, context.step)
    for i, answer in enumerate(answers):
        if not answer.text.strip():
            detail = f"{place}: answer {i + 1} of {len(answers)} is empty; add its text or remove it"
            out.append(Rejection(f"{place}~{i + 1}", "candidates", context.step, Reason.EMPTY_ANSWER, detail, made.id))
    if draft.no_pair is not None:
        reason, why = draft.no_pair
        out.append(Rejection(place, "pairs", context.step, reason, f"{place}: {why}", made.id))
    filled = {answer.id for answer in answers if answer.text.strip()}
    judgements = [
        judgement(
            made.id, context.step, "candidate" if len(vote.items) == 1 else "pair", tuple(answers[i].id for i in vote.items),
            vote.axis, Finding(vote.outcome, vote.value, raw=vote.raw), Provenance(vote.annotator),
        )
        for vote in draft.said
    ]  # fmt: skip
    judgements = [vote for vote in judgements if filled.issuperset(vote.items)]
    pairs = [
        _pair(p, [m.id for m in o], [m.id for m in r], answers, judgements, context)
        for p, o, r in zip(draft.pairs, others, ranked, strict=True)
    ]
    # ordered by id, which is unrelated to quality: a judge that sees answers in order must not always see the chosen one first
    kept = sorted((answer for answer in answers if answer.id in filled), key=lambda answer: answer.id)
    return [*out, *kept, *judgements, *pairs]


def _answers(draft: Draft, name: str, step: str) -> list[Candidate]:
    """The candidates. `index` counts earlier ones with the same text and model, so that an answer gets the same id in every row."""
    seen: dict[Answer, int] = {}
    out = []
    for answer in draft.answers:
        same = answer._replace(role=None)
        out.append(candidate(name, step, answer.text, role=answer.role, model=answer.model, index=seen.get(same, 0)))
        seen[same] = seen.get(same, 0) + 1
    return out


def _pair(
    pairing: DraftPair,
    other: list[str],
    ranked: list[str],
    answers: list[Candidate],
    judgements: list[Judgement],
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
    compared = [j.id for j in judgements if set(j.items) == both and j.target == "pair"]
    rated = [j.id for j in judgements if j.target == "candidate" and j.items[0] in both]
    made = make_pair(chosen.sample, context.step, chosen, rejected, judgements=tuple(compared or rated), **known)
    if pairing.rejected_media is None:
        return made
    return made._replace(
        id=digest(made.id, other),
        rejected_media=tuple(other),
        media_list=tuple(ranked) or None,
        pair_kind="media" if same_text(chosen.text, rejected.text) else "mixed",
    )


def _paths(settings: Settings) -> tuple[str, ...]:
    return (settings.path,) if isinstance(settings.path, str) else settings.path


def _listed(path: str | tuple[str, ...]) -> str:
    return path if isinstance(path, str) else ", ".join(path)
