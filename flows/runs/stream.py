"""A pass: consecutive steps of scope `sample`, run as one stream over shards of samples.

A sample's answers are judged while others are still generated. Rows are kept in sample order, so a shard's bytes do not depend on
which answer came first, nor on the machine."""

import asyncio
import contextlib
import gc
import inspect
import time
from collections import Counter, defaultdict, deque
from collections.abc import Awaitable, Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flows.planning.bind import Bound, build
from flows.runs import costs, rejections, shards
from flows.runs.contradictions import contradictory
from flows.runs.intake import arrivals, duplicate_rejection, merge_repeated
from flows.runs.model_source import Answers
from pipeline.storage.answer_cache import Usage
from pipeline.storage.urls import fill_variables
from schemas.arrow import TABLE_OF, TABLES, from_batch
from schemas.axes import SCORE, TRUTH
from schemas.errors import PairwrightError, RowError, RunError
from schemas.messages import sample_label
from schemas.operator import Context, SampleRows
from schemas.ports import Engine, MediaStore
from schemas.records import Reason, Rejection, Sample, digest

ROWS = 4  # rows read from a source before other tasks may run
ROW_TABLES = ("candidates", "claims", "judgements", "pairs")
LIVE = frozenset(ROW_TABLES)
Used = dict[str, Usage]  # by the recipe's name of the model
Progress = Callable[[int, int | None, str, Used], None]


def is_from(bound: Bound, rows: SampleRows) -> bool:
    """Whether a sample is of the step's `from:`: left or rewritten by a step named there, or with rows that a source named there brought."""
    wanted = bound.sources.get("samples")
    if not wanted or not wanted.isdisjoint(rows.steps):
        return True
    return any(row.step in wanted for table in ROW_TABLES for row in getattr(rows, table))


def visible_rows(bound: Bound, rows: SampleRows) -> SampleRows | None:
    """What the step sees of a sample; None if the sample is not for this step."""
    step = bound.step
    if not is_from(bound, rows):
        return None
    if bound.share != (0.0, 1.0):
        place = int(digest("share", rows.origin)[:8], 16) / 2**32
        if not bound.share[0] <= place < bound.share[1]:
            return None
    if not step.where and not bound.sources and not bound.ignored:
        return rows
    seen = SampleRows(rows.sample)
    for table in ROW_TABLES:
        wanted = bound.sources.get(table)
        setattr(seen, table, [r for r in getattr(rows, table) if not wanted or r.step in wanted])
    seen.judgements = [r for r in seen.judgements if r.step not in bound.ignored]
    for predicate in step.where:
        if predicate in ("has_answer", "no_answer"):
            if (rows.sample.answer is None) == (predicate == "has_answer"):
                return None
        else:
            seen.candidates = _selected(predicate, seen, rows)
    return seen


def _selected(predicate: str, seen: SampleRows, rows: SampleRows) -> list:
    """The candidates with a role, or those that are right, wrong or best by the judgements in `rows`."""
    if predicate not in ("right", "wrong", "best"):
        return [c for c in seen.candidates if c.role == predicate]
    axis = SCORE if predicate == "best" else TRUTH
    value = {
        j.items[0]: j.value
        for j in rows.judgements
        if j.axis == axis and j.target == "candidate" and j.value is not None
    }
    if predicate == "right":
        return [c for c in seen.candidates if value.get(c.id) == 0]
    if predicate == "wrong":
        return [c for c in seen.candidates if value.get(c.id, 0) < 0]
    top = max((value[c.id] for c in seen.candidates if c.id in value), default=None)
    return [c for c in seen.candidates if c.id in value and value[c.id] == top]


@dataclass
class Shard:
    """One shard during a pass."""

    number: int
    key: str
    given: list[SampleRows]
    first: dict[str, list]
    """rows that precede the samples: media, rejections of the source"""
    made: list[list] = field(default_factory=list)
    """for each sample, the rows this pass leaves: at first the sample and the rows from its source"""
    left: int = 0
    usage: dict[str, Used] = field(default_factory=dict)
    """usage by step"""
    reached: Counter[str] = field(default_factory=Counter)
    """samples that reached a step with a source in its `from:`, by step"""
    matched: Counter[str] = field(default_factory=Counter)
    """those of them that are of a source named there"""
    unanswered: set[bytes] = field(default_factory=set)
    """keys of the requests that are open: they may be answered another time"""
    place: int = 0
    """its position among the shards of the pass"""
    earlier: dict | None = None
    """its record, if it was published before with open requests"""
    contexts: list[Context] = field(default_factory=list)
    started: float = 0.0

    @property
    def name(self) -> str:
        """The name of its folder if no request is open."""
        return f"{self.number:05d}-{self.key[:16]}"

    @property
    def published(self) -> str:
        """The name of its folder. With open requests it differs, so that everything based on its rows is redone once they are answered."""
        if not self.unanswered:
            return self.name
        return f"{self.name}{shards.OPEN}{digest(sorted(key.hex() for key in self.unanswered))[:8]}"


def from_sources(sources: list[Bound], context: Callable[[Bound], Context], key: str) -> Iterator[Shard | None]:
    """Shards of what the sources yield, with None in between to let other tasks run.

    Answers, judgements and pairs that a source yields after a Sample belong to that Sample and are in its shard; its steps see them. If
    sources leave such rows, those of equal Samples are merged; otherwise a repeated Sample is a rejection."""
    records = (row for bound in sources for row in bound.verb(fill_variables(bound.settings), context(bound)))
    stream = arrivals(records, ROWS)
    if any(not LIVE.isdisjoint(bound.leaves) for bound in sources):
        stream = merge_repeated(stream, {b.step.name for b in sources if b.step.contradictions == "keep"})
    seen: dict[bytes, int] = {}
    shown: set[bytes] = set()
    given: list[SampleRows] = []
    first: dict[str, list] = {"media": [], "rejections": []}
    number = 0

    def shard() -> Shard:
        made = [[r.sample, *(row for table in ROW_TABLES for row in getattr(r, table))] for r in given]
        # keyed by all rows of the source, not only sample ids: what is known about a prompt may change too
        return Shard(number, digest(key, first, made), given, first, made)

    for item in stream:
        if item is None:
            yield None
            continue
        if isinstance(item, Rejection):
            first["rejections"].append(item)
        else:
            name = bytes.fromhex(item.sample.id)
            times = seen[name] = seen.get(name, 0) + 1
            if times > 1:
                first["rejections"].append(duplicate_rejection(item.sample, times))
            else:
                for media in item.media:
                    if (sha := bytes.fromhex(media.id)) not in shown:
                        shown.add(sha)
                        first["media"].append(media)
                given.append(SampleRows(item.sample))
                for row in item.rows:
                    getattr(given[-1], TABLE_OF[type(row)]).append(row)
        if len(given) + len(first["rejections"]) >= shards.SIZE:
            yield shard()
            number, given, first = number + 1, [], {"media": [], "rejections": []}
    if given or first["rejections"] or number == 0:
        yield shard()


def from_tables(tables: shards.RunTables, key: str) -> Iterator[Shard]:
    """The shards of earlier passes, with their live rows."""
    for number, (folders, shard) in enumerate(tables.shards()):
        yield Shard(number, digest(key, [f.name for f in folders]), _given(shard), {})


def seen_samples(bound: Bound, tables: shards.RunTables) -> Iterator[SampleRows]:
    """What the step sees of each sample of the earlier passes, in order."""
    for _, shard in tables.shards():
        for rows in _given(shard):
            if rows.sample.kind in bound.module.MEDIA and (some := visible_rows(bound, rows)) is not None:
                yield some


def _given(tables: shards.RunTables) -> list[SampleRows]:
    """The live samples of one shard with their live rows."""
    given: dict[str, SampleRows] = {}
    origins: dict[str, str] = {}
    steps: dict[str, set[str]] = {}  # of a sample -> those that made it what it is
    for old, new, step in tables.successors():
        origins[new] = origins.get(old, old)
        steps[new] = {*steps.get(old, ()), step}
    for name in ("samples", *ROW_TABLES):
        for batch in tables.batches(name):
            for row in from_batch(name, batch):
                if name == "samples":
                    given[row.id] = SampleRows(row, origins.get(row.id), steps.get(row.id, ()))
                else:
                    getattr(given[row.sample], name).append(row)
    return list(given.values())


@dataclass(frozen=True)
class Resources:
    """What a pass works with, independent of its steps."""

    media: MediaStore
    answers: Answers
    recipe: str
    """name of the recipe"""
    connect: Callable[[list[str]], Awaitable[dict[str, Any]]]
    """names of models -> their engines"""
    models: dict[str, str] = field(default_factory=dict)
    """paths or names of models by their names in the recipe"""
    shared: Path | None = None
    """the cache folder, shared by all runs"""


class Pass:
    """Runs the steps of one pass over its shards, which are written to `folder`."""

    def __init__(self, folder: Path, steps: list[Bound], resources: Resources, progress: Progress, *, beside: bool,
                 after_shard: Callable[[], None] | None = None, order: Sequence[str] = ()):  # fmt: skip
        """`beside`: an engine works in this process, so sources are read in another thread. `after_shard` is called after each published
        shard; if it raises, the pass ends. `order`: the recipe's step names, if an earlier pass ran steps that follow this pass's in the
        recipe: rows are then sorted in that order."""
        self.folder, self.resources, self.progress, self.beside = folder, resources, progress, beside
        self.media, self.cache = resources.media, resources.answers
        self.sources = [b for b in steps if b.step.family == "source"]
        self.steps = [b for b in steps if b.step.family != "source"]
        self.after_shard = after_shard
        self.rank = {name: place for place, name in enumerate(order)}
        self.names = list(dict.fromkeys(m for b in self.steps for m in b.models))
        self.engines: dict[str, Engine] = {}
        self.done = 0
        self.repaired: list[str] = []
        """a line for each damaged shard that is written again"""
        self.unread: dict[str, dict[str, dict[str, int]]] = {}
        """what sources did not read: step -> file -> column -> rows"""
        self.open: list[Shard] = []
        self.spent: Used = defaultdict(Usage)  # usage of closed shards

    def context(self, bound: Bound, shard: Shard | None = None) -> Context:
        """The operator's context; usage of its engines is counted in `shard` only."""
        usage = defaultdict(Usage) if shard is None else shard.usage[bound.step.name]
        unanswered = None if shard is None else shard.unanswered
        engines = {
            n: self.cache.engine(e, usage[n], unanswered, bound.step.name)
            for n, e in self.engines.items()
            if n in bound.models
        }
        context = Context(
            bound.step.name, bound.version, self.media, self.resources.recipe, engines=engines, models=self.resources.models,
            fitted=bound.fitted and bound.fitted.value, cache=self.resources.shared,
            unread=self.unread.setdefault(bound.step.name, {}) if bound.step.family == "source" else {},
        )  # fmt: skip
        return build(bound, context)

    async def run(self, stream: Iterator[Shard | None], total: int | None) -> list[str]:
        """Works through the stream; returns the names of all its shards in order. The first error ends the pass."""
        self.total, self.stream, self.names_done, self.jobs = total, stream, [], deque()
        self.refilling = asyncio.Lock()
        with ThreadPoolExecutor(1, thread_name_prefix="source") as self.reader:
            self._read_ahead()
            try:
                if await self._refill():
                    with _rarely_collected():
                        async with asyncio.TaskGroup() as group:
                            for _ in range(self._window()):
                                group.create_task(self._work())
            except BaseExceptionGroup as errors:
                raise errors.exceptions[0] from None
            finally:
                self.ahead.cancel()
                self.cache.commit()
        return self.names_done

    def _read_ahead(self) -> None:
        self.ahead = asyncio.create_task(self._next_shard())

    async def _next_shard(self) -> Shard | None:
        if self.beside:
            return await asyncio.get_running_loop().run_in_executor(self.reader, next, filter(None, self.stream), None)
        for (
            shard
        ) in self.stream:  # in this thread: without an engine a second one would only compete for the interpreter
            if shard is not None:
                return shard
            await asyncio.sleep(0)
        return None

    def _window(self) -> int:
        """Samples in flight: as many as the engines have slots for."""
        return max((e.slots for e in self.engines.values()), default=1)

    async def _refill(self) -> bool:
        """Opens the next shard that is not finished yet; False if there is none. One worker refills at a time."""
        async with self.refilling:
            while not self.jobs:
                shard = await self.ahead
                if shard is None:
                    return False
                self._read_ahead()
                shard.place = len(self.names_done)
                self.names_done.append(shard.name)
                if self._is_finished(shard):
                    self.media.sync()  # reading the source may have restored lost media
                    self.done += len(shard.given)
                    self.progress(self.done, self.total, "already finished", self.used())
                    continue
                if not self.engines and self.names:
                    self.engines = await self.resources.connect(self.names)
                self._open(shard)
                self.jobs.extend((shard, place) for place in range(len(shard.given)))
                if not shard.given:
                    await self._close(shard)
        return True

    def _is_finished(self, shard: Shard) -> bool:
        """Whether a shard is finished, intact and has its media. A damaged one is written again, with answers from the cache."""
        folder = self.folder / shard.name
        if not folder.exists():
            return False
        if (what := shards.damage(folder)) is None:
            brought = {media.id for media in shard.first.get("media", ())}
            batches = shards.batches(folder / "media.arrow")
            made = (name for batch in batches for name in batch.column("id").to_pylist() if name not in brought)
            lost = next(self.media.missing(made), None)
            if lost is None:
                return True
            what = f"the media store has lost {lost}"
        self.repaired.append(f"{folder} was damaged ({what}); rewritten, with answers from the cache")
        self.progress(self.done, self.total, self.repaired[-1], self.used())
        return False

    async def _work(self) -> None:
        while self.jobs or await self._refill():
            shard, place = self.jobs.popleft()
            await self._run_steps(shard.given[place], shard, shard.made[place])
            shard.given[place] = None  # frees memory: its rows are in `made`
            shard.left -= 1
            self.done += 1
            if shard.left == 0:
                await self._close(shard)
            if self.done % 8 == 0 or self.done == 1 or shard.left == 0:
                self.progress(self.done, self.total, "", self.used())

    def used(self) -> Used:
        """Usage of this pass so far, by model."""
        found: Used = defaultdict(Usage)
        for used in (self.spent, *(used for shard in self.open for used in shard.usage.values())):
            for name, usage in used.items():
                found[name].add(usage)
        return found

    async def _run_steps(self, rows: SampleRows, shard: Shard, made: list) -> None:
        """Runs all steps on one sample and appends their rows to `made`, in order."""
        for bound, context in zip(self.steps, shard.contexts, strict=True):
            if rows.sample.kind not in bound.module.MEDIA:
                detail = (
                    f"{bound.step.title} cannot handle {rows.sample.kind}; use another operator or exclude such samples"
                )
                made.append(
                    Rejection(
                        rows.sample.id, "samples", bound.step.name, Reason.UNSUPPORTED_MEDIA, detail, rows.sample.id
                    )
                )
                break
            if "samples" in bound.sources:
                shard.reached[bound.step.name] += 1
                shard.matched[bound.step.name] += is_from(bound, rows)
            seen = visible_rows(bound, rows)
            if seen is None:
                continue
            try:
                out = bound.verb(seen, bound.settings, context)
                if inspect.isawaitable(out):
                    out = await out
            except RowError as error:
                made.append(
                    Rejection(rows.sample.id, "samples", bound.step.name, error.reason, error.detail, rows.sample.id)
                )
                break
            except PairwrightError:
                raise
            except Exception as error:
                raise RunError(
                    f"{bound.step.name} ({bound.step.title}) failed on sample {rows.sample.id}: {type(error).__name__}: {error}"
                ) from error
            if _collect(out, rows, made):
                break
            if "pairs" in bound.leaves and bound.step.contradictions == "drop":
                _drop_contradictions(bound.step.name, rows, made)
            if self.rank:
                for table in ROW_TABLES:
                    getattr(rows, table).sort(key=lambda row: self.rank.get(row.step, -1))

    def _open(self, shard: Shard) -> None:
        shard.left, shard.started = len(shard.given), time.monotonic()
        shard.made = shard.made or [[] for _ in shard.given]
        for bound in self.steps:
            shard.usage[bound.step.name] = defaultdict(Usage)
            shard.contexts.append(self.context(bound, shard))
        shard.earlier = shards.open_shard_record(self.folder, shard.name)
        self.open.append(shard)

    async def _close(self, shard: Shard) -> None:
        """Publishes a finished shard: media first, then answers, then rows, so that no row refers to something missing.

        Rows are written in another thread: in the event loop this blocked all requests for a tenth of a second."""
        await self.cache.settle()
        tables: dict[str, list] = {name: list(shard.first.get(name, ())) for name in TABLES}
        for rows in shard.made:
            for row in rows:
                tables[TABLE_OF[type(row)]].append(row)
        shard.made = []
        self.open.remove(shard)
        for used in shard.usage.values():
            for name, usage in used.items():
                self.spent[name].add(usage)
        self.media.sync()
        self.cache.commit()
        self.names_done[shard.place] = shard.published
        await asyncio.to_thread(shards.publish, self.folder / shard.published, tables, self._record(shard, tables))
        if self.after_shard:
            self.after_shard()

    def _record(self, shard: Shard, tables: dict[str, list]) -> dict:
        usage = {step: dict(used) for step, used in shard.usage.items()}
        if shard.earlier:
            before = costs.usage_of_shard(shard.earlier)
            usage = {
                step: {
                    name: model_usage.after(Usage(**before.get(step, {}).get(name, {})))
                    for name, model_usage in used.items()
                }
                for step, used in usage.items()
            }
        return {
            "key": shard.key,
            "counts": {name: len(rows) for name, rows in tables.items()},
            "rejections": rejections.count_rows(tables["rejections"]),
            "steps": {
                b.step.name: {
                    "operator": b.step.title,
                    "version": b.version,
                    "models": {name: model_usage.figures() for name, model_usage in usage[b.step.name].items()},
                    **(
                        {"reached": shard.reached[b.step.name], "matched": shard.matched[b.step.name]}
                        if "samples" in b.sources
                        else {}
                    ),
                }
                for b in self.steps
            },
            "seconds": round(time.monotonic() - shard.started, 3),
        }


@contextlib.contextmanager
def _rarely_collected() -> Generator[None]:
    """Inside, garbage collection is rare and skips existing objects: rows form no cycles, and it used to run every 700 of them."""
    before = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(10_000, 50, 100)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


def _collect(out, rows: SampleRows, made: list) -> bool:
    """Appends a step's rows to the sample's; True if the sample itself was rejected. A new Sample supersedes the previous one."""
    for row in out:
        made.append(row)
        table = TABLE_OF[type(row)]
        if isinstance(row, Sample):
            made.append(_superseded(rows.sample, row))
            rows.sample = row
            rows.steps.add(row.step)
            for name in ROW_TABLES:
                setattr(rows, name, [])
        elif table in ROW_TABLES:
            getattr(rows, table).append(row)
        elif table != "rejections":
            continue
        elif row.table == "samples":
            return True
        elif row.table in ROW_TABLES and row.id != rows.sample.id:
            setattr(rows, row.table, [r for r in getattr(rows, row.table) if r.id != row.id])
    return False


def _drop_contradictions(step: str, rows: SampleRows, made: list) -> None:
    """Rejects the live pairs that contradict one that the step left, and that one."""
    for pair, other in list(contradictory(rows.pairs)) if len(rows.pairs) > 1 else ():
        if step in (pair.step, other.step):
            detail = f"{sample_label(rows.sample)}: {other.step} made a pair that prefers the other answer"
            made.append(Rejection(pair.id, "pairs", step, Reason.CONTRADICTION, detail, pair.sample))
            rows.pairs = [row for row in rows.pairs if row.id != pair.id]


def _superseded(old: Sample, new: Sample) -> Rejection:
    return Rejection(
        old.id, "samples", new.step, Reason.SUPERSEDED, f"{sample_label(old)}: rewritten by {new.step}", new.id
    )
