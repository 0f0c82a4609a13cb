"""The JSON files of a run's folder: their schemas, and the remedy if one cannot be read."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, TypeAdapter, ValidationError

from flows.runs.rejections import Reasons
from pipeline.storage import checksum, local_files
from pipeline.storage.answer_cache import FIGURES
from schemas.disk import cause_and_remedy, short_path
from schemas.errors import DamageError, OutputError

VERSION = 2  # of the layout of a run's folder
REMEDY = "run the same `pairwright build` again, which rewrites it"
COPY = (
    "restore it from a copy, or choose another --out and run `pairwright build` there (cached answers are kept, so only new requests "
    "are sent)"
)


def _known(figures: dict[str, float]) -> dict[str, float]:
    if strange := figures.keys() - set(FIGURES):
        raise ValueError(f"unknown figure {min(strange)}")
    return figures


Figures = Annotated[dict[str, float], AfterValidator(_known)]
Counts = dict[str, int]
Unread = dict[str, dict[str, Counts]]
"""what sources did not read: step -> file -> column -> rows"""


class _Note(BaseModel):
    model_config = ConfigDict(strict=True)


class RunNote(_Note):
    """run.json: the recipe of the folder, and how it was opened."""

    recipe: dict[str, Any]
    cache: str
    version: int
    dataset: str | None = None
    ingested: bool = False
    passes: list[list[str]] = []
    withheld: list[str] = []


class Done(_Note):
    """done.json: a finished unit."""

    key: str
    seconds: float
    loads: Counts = {}
    usage: dict[str, dict[str, Figures]] = {}
    rejections: Reasons = {}
    pairs: Counts = {}
    result: dict[str, Any] = {}
    fitted: str | None = None
    unread: Unread = {}


class PassDone(Done):
    """done.json of a pass."""

    shards: list[str]


class StepNote(_Note):
    """A step in record.json: its usage by model; with a source in its `from:`, the samples that reached it and those of that source."""

    models: dict[str, Figures]
    reached: int = 0
    matched: int = 0


class Record(_Note):
    """record.json: a shard."""

    key: str
    counts: Counts
    rejections: Reasons
    steps: dict[str, StepNote]


class EngineNote(_Note):
    """One entry of engines.json: the capabilities of a model's engine."""

    identity: str
    can: list[str]
    media: list[str]
    slots: int


class CrashNote(_Note):
    """crashes.json: requests that crashed engines."""

    times: Counts
    culprits: list[str]


class Asked(_Note):
    """Usage of a model in summary.json; more figures are allowed."""

    asked: int
    cached: int
    failed: int
    prompt_tokens: int
    answer_tokens: int


class Summary(_Note):
    """summary.json: a finished run."""

    name: str
    units: dict[str, str] = {}
    samples: Counts
    candidates: Counts
    judgements: Counts
    pairs: Counts
    rejections: Reasons
    models: dict[str, Asked]
    judges: dict[str, dict[str, Any]]
    survive_without_media: dict[str, dict[str, Any]]
    evaluate: dict[str, dict[str, Any]]
    dataset: str | None
    unread: Unread = {}


FORMS: dict[str, TypeAdapter] = {
    "run.json": TypeAdapter(RunNote),
    "done.json": TypeAdapter(Done),
    "record.json": TypeAdapter(Record),
    "engines.json": TypeAdapter(dict[str, EngineNote]),
    "crashes.json": TypeAdapter(CrashNote),
    "summary.json": TypeAdapter(Summary),
}
PASS = TypeAdapter(PassDone)


def read(path: Path) -> Any:
    """The content of the file; None if it is missing. DamageError if it cannot be read or has unexpected content; OutputError for a
    run.json of a newer version."""
    try:
        return parsed(path)
    except DamageError as error:
        remedy = COPY if path.name == "run.json" else REMEDY
        raise DamageError(f"{short_path(path)} {error}; {remedy}") from None


def parsed(path: Path) -> Any:
    """Like `read`, but the error message is a few words without path and remedy."""
    form = PASS if path.name == "done.json" and path.parent.parent.name == "passes" else FORMS.get(path.name)
    try:
        found = checksum.from_checked_json(local_files.read(path))
        if path.name == "run.json":
            _check_version(path.parent, found)
        if form:
            form.validate_python(found)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise DamageError(f"cannot be read ({cause_and_remedy(error, path)[0]})") from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "top level"
        raise DamageError(f"has unexpected content ({where}: {first['msg'].lower()})") from None
    return found


def _check_version(folder: Path, found: Any) -> None:
    version = found.get("version") if isinstance(found, dict) else None
    if isinstance(version, int) and version > VERSION:
        raise OutputError(
            f"{short_path(folder)} was written by a newer Pairwright (version {version} of its run.json, this one reads {VERSION}); "
            "update Pairwright, or choose another --out"
        )
