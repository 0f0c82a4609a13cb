"""What a run did, from its records and tables: summary.json, the dataset card, report.html. Every figure is computed from this run."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from itertools import groupby
from operator import attrgetter, itemgetter
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from annotators.measures.judge_quality import Answer, JudgeQuality
from annotators.measures.right_answers import RightAnswers
from annotators.measures.rule_use import MOST, Known, RuleUse
from annotators.measures.streaming_stats import Share
from flows.reports import evaluations
from flows.runs import campaigns, costs, rejections, shards
from flows.runs.folder import disk_errors_translated
from flows.runs.same_replies import grouped_by_sample, records
from pipeline.storage import checksum
from pipeline.storage.answer_cache import total_usage
from schemas import redact
from schemas.finish import LENGTH
from schemas.operator import Tables
from schemas.recipe import Price
from schemas.records import COUNTED, OPEN, SAMPLE_KINDS, Judgement, Outcome, Reason, one_line

QUOTE_LENGTH, MAX_QUOTES, MAX_DISTINCT = (
    160,
    5,
    1000,
)  # characters of a quoted error; quoted errors; distinct errors that are counted
DETAIL_LENGTH = 400  # characters of the reason of a dropped sample
_OPEN = pa.array(sorted(OPEN), pa.string())
_CUT = pa.scalar(LENGTH)


def finish(run) -> dict:
    """Writes summary.json, the dataset card and report.html of a run whose units are all finished, removes shards that no pass lists any
    more, and returns the summary. StoreError if the disk fails, DamageError if a stored file is damaged."""
    with disk_errors_translated(run.folder, run.cache):
        found = redact.document(summary(run))
        _write(run, found)
        for unit in run.units:
            if unit.kind == "pass":
                shards.remove_stale_shards(run.unit_folder(unit))
    return found


def _write(run, found: dict) -> None:
    from flows.reports.html import write_report
    from pipeline.dataset.card import write_card
    from pipeline.storage.media_store import open_store

    shards.write_json(run.folder / "summary.json", found)
    if found["dataset"] and not run.dataset_given:
        write_card(run.folder / found["dataset"], found, found["recipe"])
    if found["samples"]:
        with closing(open_store(run.cache / "media")) as media:
            write_report(run.folder, found, run.tables(), media)


def summary(run) -> dict[str, Any]:
    """The summary: counts of the last round; seconds and usage of all rounds."""
    last = run.units[-1].round
    out: dict[str, Any] = {"name": run.recipe.name, "about": run.recipe.about, "recipe": run.raw, "rounds": last}
    judges = [step.name for step in run.recipe.steps if step.family == "judge"]
    out |= counts(run.tables(round=last), judges)
    out |= {"units": {}, "seconds": {}, "loads": {}, "train": {}, "evaluate": {}, "dataset": None}
    if of_people := campaigns.figures(run):
        out["people"] = of_people
    usages: list[costs.Usages] = []
    repaired = list(run.repaired)
    units: dict[str, str] = {}
    unread: dict[str, dict[str, dict[str, int]]] = {}
    for unit in run.units:
        done = run.done(unit)
        repaired += done.get("repaired", ())
        unread |= done.get("unread", {})
        out["units"][unit.name] = checksum.of_value(done)
        out["seconds"][unit.name] = done["seconds"]
        for model, times in done.get("loads", {}).items():
            out["loads"][model] = out["loads"].get(model, 0) + times
        usages.append(done.get("usage", {}))
        units |= dict.fromkeys(usages[-1], unit.name)
        if unit.kind == "dataset":
            out["dataset"] = str(run.dataset(unit.round).relative_to(run.folder))
        elif unit.kind == "table" and unit.steps[0].family in ("train", "evaluate"):
            out[unit.steps[0].family][unit.name] = done["result"]
    if found := evaluations.paired(run):
        out["differences"] = found
    if repaired:
        out["repaired"] = repaired
    if unread:
        out["unread"] = unread
    found = costs.by_step(usages)
    ordered = {step.name: found[step.name] for step in run.recipe.steps if step.name in found}
    return out | usage_summary(ordered, units, run.recipe.prices)


def usage_summary(usages: costs.Usages, units: dict[str, str], prices: dict[str, Price]) -> dict[str, Any]:
    """Usage by step and by model, with its cost. `units`: the unit in which each step ran."""
    models = costs.priced(costs.by_model(usages), prices)
    whole = total_usage(costs.by_model(usages).values())
    steps = {step: {"unit": units[step], "models": costs.priced(usage, prices)} for step, usage in usages.items()}
    return {
        "steps": steps, "models": models, "money": costs.total_money(models.values()),
        "questions_asked": whole.asked, "questions_cached": whole.cached, "questions_failed": whole.failed,
        "questions_open": whole.open,
        "tokens": {"prompt": whole.prompt_tokens, "answer": whole.answer_tokens},
        "tokens_cached": {"prompt": whole.cached_prompt_tokens, "answer": whole.cached_answer_tokens},
    }  # fmt: skip


def counts(tables: Tables, judges: Sequence[str] = ()) -> dict[str, Any]:
    """Live rows by media type, rejections by step and reason, samples that the steps `judges` dropped, open rows, answers and judgements that
    max_tokens cut off, judge quality, the shares of right answers, and how many of the probed preferences survive without the media. Streams the tables: memory grows only
    with the ids of samples."""
    kinds: dict[str, str] = {}
    found = {name: Counter() for name in COUNTED}
    quality, right, left, use = JudgeQuality(), RightAnswers(), OpenRows(), RuleUse()
    known = _known_answers(tables)
    for batch in tables.batches("samples", ["id", "kind"]):
        new = dict(zip(batch.column("id").to_pylist(), batch.column("kind").to_pylist(), strict=True))
        kinds |= new
        found["samples"].update(new.values())
    cut = {"answers": Counter(), "replies": Counter()}
    for batch in tables.batches("candidates", ["sample", "step", "finish"]):
        found["candidates"].update(kinds[s] for s in batch.column("sample").to_pylist())
        cut["answers"].update(batch.filter(pc.equal(batch["finish"], _CUT))["step"].to_pylist())
    probed: dict[str, Share] = {}
    for sample, needs in _pairs(tables):
        found["pairs"].update([kinds[sample]] * len(needs))
        if survived := [not need for need in needs if need is not None]:
            for name in (kinds[sample], "all"):
                probed.setdefault(name, Share()).add(sum(survived), len(survived))
    written = grouped_by_sample(_answers(tables), itemgetter(0))
    judged = grouped_by_sample(records(tables, "judgements"), attrgetter("sample"))
    for sample, kind in kinds.items():
        answers, judgements = written(sample), judged(sample)
        found["judgements"][kind] += len(judgements)
        left.judged(judgements)
        cut["replies"].update(j.step for j in judgements if j.outcome == Outcome.UNPARSABLE and _is_cut(j.raw or ""))
        by_name = {name: answer for _, name, answer in answers}
        quality.add(kind, by_name, judgements)
        right.add(kind, by_name, judgements)
        if sample in known:
            use.add(known[sample], {name: answer.text for name, answer in by_name.items()}, judgements)
    dropped: dict[str, dict[str, dict[str, Any]]] = {}
    for batch in tables.batches("rejections", ["step", "reason", "detail", "table"]):
        left.rejected(batch)
        _count_dropped(batch, judges, dropped)
    out: dict[str, Any] = {name: {k: n[k] for k in SAMPLE_KINDS if n[k]} for name, n in found.items()}
    survived = {kind: share.figure() for kind, share in sorted(probed.items())}
    return out | {
        "rejections": rejections.in_tables(tables), "dropped_by_judges": dropped, "open": left.figures(), "cut_off": {what: dict(steps) for what, steps in cut.items()}, "judges": quality.report(), "right": right.report(), "rules": use.report(),
        "survive_without_media": survived,
    }  # fmt: skip


def _known_answers(tables: Tables) -> dict[str, Known]:
    """What is known of the first samples that have an answer."""
    found: dict[str, Known] = {}
    for batch in tables.batches("samples", ["id", "answer", "prompt"]):
        for row in batch.filter(pc.is_valid(batch["answer"])).to_pylist():
            texts = [p["text"] for m in row["prompt"] if m["role"] == "user" for p in m["parts"] if p["text"]]
            found[row["id"]] = Known(row["answer"], texts[-1] if texts else "")
            if len(found) == MOST:
                return found
    return found


def _count_dropped(batch: pa.RecordBatch, judges: Sequence[str], found: dict[str, dict[str, dict[str, Any]]]) -> None:
    """Adds the samples that judges dropped for good to {step: {reason: {n, first (detail of the first)}}}."""
    for row in batch.filter(pc.is_in(batch["step"], pa.array(judges, pa.string()))).to_pylist():
        if row["table"] == "samples" and row["reason"] not in OPEN:
            first = one_line(row["detail"])[:DETAIL_LENGTH]
            found.setdefault(row["step"], {}).setdefault(row["reason"], {"n": 0, "first": first})["n"] += 1


def _is_cut(raw: str) -> bool:
    return raw.removeprefix('{"reply": "').startswith(f"{Reason.TRUNCATED}: ")


class OpenRows:
    """Counts rows that are open because of a temporary failure, such as a server that was down, and the errors behind them."""

    def __init__(self):
        self._rows: dict[str, Counter[str]] = {"rejections": Counter(), "judgements": Counter()}  # by step
        self._said: Counter[str] = Counter()

    def rejected(self, batch: pa.RecordBatch) -> None:
        """Counts the open rows of a batch with the columns `step`, `reason` and `detail`."""
        left = batch.filter(pc.is_in(batch["reason"], _OPEN))
        for step, detail in zip(left["step"].to_pylist(), left["detail"].to_pylist(), strict=True):
            self._add("rejections", step, detail)

    def judged(self, judgements: Iterable[Judgement]) -> None:
        """Counts failed judgements whose reason is open."""
        for judgement in judgements:
            reason, _, detail = (judgement.raw or "").partition(": ")
            if judgement.outcome == Outcome.FAILED and reason in OPEN:
                self._add("judgements", judgement.step, detail)

    def _add(self, table: str, step: str, detail: str) -> None:
        self._rows[table][step] += 1
        error = one_line(detail)[:QUOTE_LENGTH]
        if error in self._said or len(self._said) < MAX_DISTINCT:
            self._said[error] += 1

    def figures(self) -> dict[str, Any]:
        """`rejections` and `judgements` by step, and `said`: the most frequent errors, cut to QUOTE_LENGTH characters, with their counts."""
        return {
            **{table: dict(steps) for table, steps in self._rows.items()},
            "said": dict(self._said.most_common(MAX_QUOTES)),
        }


def _pairs(tables: Tables) -> Iterator[tuple[str, list[bool | None]]]:
    """Each sample with the `needs_media` of its pairs."""
    columns = ["sample", "needs_media"]
    rows = (
        row
        for batch in tables.batches("pairs", columns)
        for row in zip(*(batch[c].to_pylist() for c in columns), strict=True)
    )
    for sample, those in groupby(rows, key=itemgetter(0)):
        yield sample, [needs for _, needs in those]


def _answers(tables: Tables) -> Iterator[tuple[str, str, Answer]]:
    """(sample, id, answer) of all candidates."""
    columns = ["sample", "id", "text", "model", "step"]
    for batch in tables.batches("candidates", columns):
        for sample, name, *about in zip(*(batch[c].to_pylist() for c in columns), strict=True):
            yield sample, name, Answer(*about)
