"""The JSON files of a run's folder: what each holds, and what to do when one cannot be read."""

import json
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, TypeAdapter, ValidationError

from pipeline.cache import FIGURES
from schemas.disk import said, shown
from schemas.errors import OutputError, StoreError

VERSION = 2  # of a run's folder
COPY = "put it back from a copy, or choose another --out: the cache keeps the answers, so nothing is asked twice"
AGAIN = "run the same `pairwright build` again: it makes this part again, from the cache"
WRITES = "run the same `pairwright build` again: it writes it again"


def _known(figures: dict[str, float]) -> dict[str, float]:
    if strange := figures.keys() - set(FIGURES):
        raise ValueError(f"unknown figure {min(strange)}")
    return figures


Figures = Annotated[dict[str, float], AfterValidator(_known)]
Counts = dict[str, int]
Reasons = dict[str, Counts]  # {step: {reason: n}}


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


class PassDone(Done):
    """done.json of a pass."""

    shards: list[str]


class StepNote(_Note):
    models: dict[str, Figures]


class Record(_Note):
    """record.json: a shard."""

    key: str
    counts: Counts
    rejections: Reasons
    steps: dict[str, StepNote]


class EngineNote(_Note):
    """One entry of engines.json: what a model's engine can."""

    identity: str
    can: list[str]
    media: list[str]
    slots: int


class CrashNote(_Note):
    """crashes.json: which requests crashed the engines."""

    times: Counts
    culprits: list[str]


class Asked(_Note):
    asked: int
    cached: int
    failed: int
    prompt_tokens: int
    answer_tokens: int


class Summary(_Note):
    """summary.json: a finished run."""

    name: str
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


FORMS: dict[str, tuple[TypeAdapter, str]] = {
    "run.json": (TypeAdapter(RunNote), COPY),
    "done.json": (TypeAdapter(Done), AGAIN),
    "record.json": (TypeAdapter(Record), AGAIN),
    "engines.json": (TypeAdapter(dict[str, EngineNote]), COPY),
    "crashes.json": (TypeAdapter(CrashNote), "remove it: which requests crash an engine is found out again"),
    "summary.json": (TypeAdapter(Summary), WRITES),
}
PASS = TypeAdapter(PassDone)


class Damaged(StoreError):
    """A file of a run's folder cannot be read, or does not hold what it should: `what` says which, `remedy` what a reader can do."""

    def __init__(self, what: str, remedy: str = AGAIN):
        super().__init__(f"{what}; {remedy}")
        self.what = what


def read(path: Path) -> Any:
    """What the file holds, None where there is none. Damaged where it cannot be read, or holds something else than its name says;
    OutputError for the run.json of a newer version."""
    form, remedy = FORMS.get(path.name, (None, COPY))
    if path.name == "done.json" and path.parent.parent.name == "passes":
        form = PASS
    try:
        found = json.loads(path.read_bytes())
        if path.name == "run.json":
            _check_version(path.parent, found)
        if form:
            form.validate_python(found)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise Damaged(*said(error, path).rsplit("; ", 1)) from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "the whole"
        raise Damaged(f"{shown(path)} does not hold what it should ({where}: {first['msg'].lower()})", remedy) from None
    except (ValueError, RecursionError):  # not UTF-8, not JSON, a number of ten thousand digits, a thousand brackets
        raise Damaged(f"{shown(path)} is damaged: it is not JSON", remedy) from None
    return found


def _check_version(folder: Path, found: Any) -> None:
    version = found.get("version") if isinstance(found, dict) else None
    if isinstance(version, int) and version > VERSION:
        raise OutputError(
            f"{shown(folder)} was written by a newer Pairwright (version {version} of its run.json, this one reads {VERSION}): "
            "update Pairwright, or choose another --out"
        )
