"""The contract of operators: a module with a frozen `Settings`, five declarations and one verb.

    READS   tables it needs         LEAVES  tables it appends to
    MEDIA   kinds of samples it supports        SCOPE   "sample" (one sample's rows in, rows out) or "table" (all rows)
    VERSION raised when its output changes for the same settings
    EDITION (optional) raised instead when it only leaves more or fewer of the same rows, or others for few samples: keys change, the ids of its
            rows stay

Its folder is its family, its file name is its name in recipes, and its verb is its family's (VERBS). A verb of scope `sample`
is called as `verb(rows, settings, context)` and returns records (as a coroutine if it uses an engine); one of scope `table`
is called as `verb(tables, settings, context)`; a source as `read(settings, context)`.

A Sample returned by an operator of scope `sample` supersedes the input Sample: later steps see the new one, and the old one
with its rows becomes a Rejection `superseded`.

An operator of scope `sample` that first needs all samples (to estimate the reliability of judges, to ask people) also has
`fit(seen, settings, context)`, where `seen` is what the step may see of each sample, in order. It runs once, before the first
sample, and returns a Fitted, whose `value` the verb finds in `context.fitted`; its `key` identifies that value, so that rows
made with another value are made again. It may raise Waiting. If only some settings need it, `fits(settings)` tells which. If
READS depends on the settings, `reads(settings)` returns the additional tables; SEES names tables that it uses if present.

`prompt_texts(settings)` and `named_files(settings)` name prompt files and other files that affect an operator's output. ROLES
names the roles that it may give to candidates.

An operator that parses replies of a given layout (a list, JSON, a verdict in brackets), without a Form that enforces it, has
`example(asked, settings, text, draw)` next to its parser: a valid reply to the prompt `asked`, containing the text `text`, with
choices made by `draw` (0 <= draw < 1). It is used to test a recipe without a model.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict

from schemas.ports import Engine, MediaStore
from schemas.records import Candidate, Claim, Judgement, Pair, Sample

if TYPE_CHECKING:  # slow to import, and only needed for types
    import pyarrow as pa

T = TypeVar("T")
VERBS = {
    "source": "read", "prompt": "write", "make": "make", "corrupt": "corrupt", "judge": "judge", "split": "split", "score": "score", "pair": "pair",
    "filter": "keep", "train": "train", "evaluate": "evaluate",
}  # fmt: skip
SCOPES = ("sample", "table")
PARTS = ("split",)
"""families whose operators are only used in settings of other operators: they are not steps and declare no tables"""


async def gather(calls: Iterable[Awaitable[T]]) -> list[T]:
    """The results of concurrent calls, in order; empty for none. A single call is awaited directly, which saves 10 us."""
    waiting = list(calls)
    return [await waiting[0]] if len(waiting) == 1 else await asyncio.gather(*waiting)


class OperatorSettings(BaseModel):
    """Base class of all settings: typed, frozen, without unknown keys; each field is documented by the string under it."""

    # not use_attribute_docstrings, which parses a source file per class; `pairwright steps` parses only those that it shows
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=(), allow_inf_nan=False)


class OperatorModule(Protocol):
    """The declarations that all operator modules have; the verb is the family's (VERBS). Checked by flows/planning/contracts.py.

    Optional, see above: EDITION, fit, fits, reads, SEES, ROLES, BUILDS, prompt_texts, named_files, example."""

    __name__: str
    Settings: type[BaseModel]
    """its settings, a subclass of OperatorSettings"""
    READS: tuple[str, ...]
    LEAVES: tuple[str, ...]
    MEDIA: tuple[str, ...]
    SCOPE: Literal["sample", "table"]
    VERSION: int


class Fitted(NamedTuple):
    """The result of an operator's `fit`."""

    key: str  # digest of everything in `value` that affects the verb's rows
    value: Any


class SampleRows:
    """One sample's live rows, as visible to one step."""

    __slots__ = ("candidates", "claims", "judgements", "origin", "pairs", "sample", "steps")

    def __init__(self, sample: Sample, origin: str | None = None, steps: Iterable[str] = ()):
        self.sample = sample
        self.origin = origin or sample.id  # id of the source's Sample from which prompt steps derived this one
        self.steps = {*steps, sample.step}  # the source and the prompt steps that made it what it is
        self.candidates: list[Candidate] = []
        self.claims: list[Claim] = []
        self.judgements: list[Judgement] = []
        self.pairs: list[Pair] = []


class Tables(Protocol):
    """All live rows of a run, streamed."""

    def batches(self, table: str, columns: list[str] | None = None) -> "Iterator[pa.RecordBatch]":
        """The live rows of a table in order; `columns` selects columns (all by default)."""
        ...


@dataclass(frozen=True)
class Context:
    """What `flows` passes to a verb: live objects, and names from outside the operator."""

    step: str
    """the step's unique name, which is in the rows it leaves"""
    version: str
    """digest of the step's settings, prompts, model and code version"""
    media: MediaStore
    recipe: str = ""
    engines: Mapping[str, Engine] = field(default_factory=dict)
    """loaded engines, by their names in the recipe's `models`"""
    models: Mapping[str, str] = field(default_factory=dict)
    """paths or names of models, by their names in the recipe"""
    media_limits: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """how much of a medium a model is shown, where the recipe says so, by the model's name there: {fps, max_frames, max_seconds}"""
    built: Mapping[str, Any] = field(default_factory=dict)
    """settings that are operators themselves, built: setting's name -> callable(s)"""
    fitted: Any = None
    """`value` of what the step's own `fit` returned"""
    tables: Tables | None = None
    """all live rows, for a `fit` that needs more than its view of each sample"""
    folder: Path = Path()
    """folder for files of a step of scope `table`, or of a `fit`"""
    cache: Path | None = None
    """folder shared by all runs, where a source caches what it has fetched"""
    dataset: Path = Path()
    """the exported dataset, for `train`"""
    unread: dict[str, dict[str, int]] = field(default_factory=dict)
    """where a source counts what its rows hold and it does not read: file -> column -> rows"""
    shown: Callable[[str, str], tuple[str, str]] = lambda media, mime: (media, mime)
    """(media id, MIME type) -> the same of the form in which people see the item"""
    progress: Callable[[int, int | None, str], None] = lambda done, total, text: None
    """called as progress(done, total, text) from time to time during long work"""


Records = Iterable  # of Sample, Candidate, Claim, Judgement, Pair, Rejection, Media
