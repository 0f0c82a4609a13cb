"""What an operator is: one module with a frozen `Settings`, four declarations and one verb.

    READS   tables it needs         LEAVES  tables it appends to
    MEDIA   kinds of samples it can handle      SCOPE   "sample" (one sample's rows in, rows out) or "table" (all of them)
    VERSION raised when its output changes for the same settings

Its folder is its family and its file name its name in a recipe. The verb is the family's (VERBS). A verb of scope `sample`
is called as `verb(rows, settings, context)` and returns records (it may be a coroutine when it asks an engine); one of
scope `table` is called as `verb(tables, settings, context)`; a source as `read(settings, context)`.

A Sample that an operator of scope `sample` returns supersedes the one it was given: later steps see the new one, and the old
one with the rows it had is a Rejection `superseded`.

An operator of scope `sample` that must first look at all samples (to estimate how reliable judges are, to ask people) has a
`fit(seen, settings, context)` too, `seen` being what the step may see of each sample, in order. It runs once, before the first
sample, and returns a Fitted whose `value` the verb finds in `context.fitted`; its `key` names that value, so that rows made
with another one are made anew. It may raise Waiting. Where not all settings need it, `fits(settings)` says which do. Where READS depends on the settings, `reads(settings)` says more; SEES names
tables that it looks at but does not need.
Prompt files and other files that decide what an operator leaves are named by `prompt_texts(settings)` and `named_files(settings)`. ROLES names
the roles that an operator gives to candidates whatever its settings.
An operator that reads replies of a layout (a list, JSON, a verdict in brackets), without a Form that holds a model to it, has
`example(asked, settings, text, draw)` beside its parser: a reply that this parser reads, to the question `asked`, of the words `text`, with choices
made by `draw` (0 <= draw < 1). A recipe is tried with it, without any model.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict

from schemas.ports import Engine, MediaStore
from schemas.records import Candidate, Claim, Judgement, Pair, Sample

if TYPE_CHECKING:  # it is slow to load, and only types need it here
    import pyarrow as pa

T = TypeVar("T")
VERBS = {
    "source": "read", "prompt": "write", "make": "make", "corrupt": "corrupt", "judge": "judge", "split": "split", "score": "score", "pair": "pair",
    "filter": "keep", "train": "train", "evaluate": "evaluate",
}  # fmt: skip
SCOPES = ("sample", "table")
PARTS = ("split",)
"""families whose operators are named in settings of others only: they are no steps, and declare no tables"""


async def gather(calls: Iterable[Awaitable[T]]) -> list[T]:
    """What several calls give, made at once. One alone is awaited as it is: a task for it costs 10 us."""
    waiting = list(calls)
    return [await waiting[0]] if len(waiting) == 1 else await asyncio.gather(*waiting)


class OperatorSettings(BaseModel):
    """Base of every operator's settings: typed, frozen, unknown keys refused, each field explained by the string under it."""

    # not use_attribute_docstrings: it reads a source file for each class; `pairwright steps` reads those that it shows
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=(), allow_inf_nan=False)


class OperatorModule(Protocol):
    """A file of an operator, as far as every one declares it; the verb is its family's (VERBS). flows/planning/contracts.py checks it.

    It may have more, as this page says: fit, fits, reads, SEES, ROLES, BUILDS, prompt_texts, named_files."""

    __name__: str
    Settings: type[BaseModel]
    """its settings, which inherit from Settings"""
    READS: tuple[str, ...]
    LEAVES: tuple[str, ...]
    MEDIA: tuple[str, ...]
    SCOPE: Literal["sample", "table"]
    VERSION: int


class Fitted(NamedTuple):
    """What an operator learnt from all rows."""

    key: str  # digest of everything in `value` that the verb's rows depend on
    value: Any


class SampleRows:
    """One sample's live rows, as one step may see them."""

    __slots__ = ("candidates", "claims", "judgements", "origin", "pairs", "sample")

    def __init__(self, sample: Sample, origin: str | None = None):
        self.sample = sample
        self.origin = origin or sample.id  # the Sample of the source that prompt steps made this one of
        self.candidates: list[Candidate] = []
        self.claims: list[Claim] = []
        self.judgements: list[Judgement] = []
        self.pairs: list[Pair] = []


class Tables(Protocol):
    """All live rows of a run, streamed."""

    def batches(self, table: str, columns: list[str] | None = None) -> "Iterator[pa.RecordBatch]":
        """The live rows of a table in order; `columns` names those wanted (all by default)."""
        ...


@dataclass(frozen=True)
class Context:
    """What `flows` hands to a verb: everything that is alive or that has a name outside the operator."""

    step: str
    """the step's unique name, which the rows it leaves carry"""
    version: str
    """digest of the step's settings, prompts, model and code version"""
    media: MediaStore
    recipe: str = ""
    engines: Mapping[str, Engine] = field(default_factory=dict)
    """loaded engines by the names that the recipe's `models` gives them"""
    models: Mapping[str, str] = field(default_factory=dict)
    """paths or names of models by the names that the recipe gives them"""
    built: Mapping[str, Any] = field(default_factory=dict)
    """settings that are operators themselves, built: setting's name -> callable(s)"""
    fitted: Any = None
    """what the step's own `fit` found"""
    tables: Tables | None = None
    """all live rows, for a `fit` that needs more than it sees of each sample"""
    folder: Path = Path()
    """where a step of scope `table`, or a `fit`, may keep files"""
    cache: Path | None = None
    """what all runs share, for what a source remembers of what it fetched"""
    dataset: Path = Path()
    """the exported dataset, for `train`"""
    progress: Callable[[int, int | None, str], None] = lambda done, total, text: None
    """called as progress(done, total, text) now and then on long work"""


Records = Iterable  # of Sample, Candidate, Claim, Judgement, Pair, Rejection, Media
