"""Answers to held-out rows of your own, with media of any kind or none, greedy decoding, judged by a rule or another judge."""

import asyncio
import inspect
import json
from collections import defaultdict
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from pydantic import Field, model_validator

from pipeline.evaluate._bootstrap import interval, keep, replicates
from pipeline.source import rows as source
from pipeline.source.reading import row_files
from pipeline.storage import urls
from schemas.axes import FORMAT, TRUTH, is_quality
from schemas.disk import disk
from schemas.errors import EngineError, InputError, RowError
from schemas.finish import LENGTH
from schemas.messages import sample_label
from schemas.operator import Context, SampleRows, Tables
from schemas.records import OPEN, SAMPLE_KINDS, Judgement, Outcome, Reason, Rejection, Sample, candidate, digest
from schemas.requests import Failure, Generate
from schemas.text import word_count

READS = ()
LEAVES = ()
MEDIA = SAMPLE_KINDS
SCOPE = "table"
VERSION = 1
BUILDS = {"judge": "judge"}
ANSWERS = "answers.jsonl"
BATCH = 100  # rows in memory at a time, with their media
UNFIT = {
    "judge.people": "asks people", "judge.probe": "needs pairs", "judge.pairwise": "compares answers", "judge.listwise": "compares answers",
}  # fmt: skip


class Settings(source.Settings):
    model: str
    """name of the recipe's model to evaluate"""
    rule: str | dict[str, Any] | None = None
    """the rule: a kind of judge.rule, or its settings: {kind: number, tolerance: 0}; by default as in judge.rule"""
    judge: str | dict[str, Any] = "judge.rule"
    """the judge, if not a rule: one that judges each answer by itself, with its settings: {judge.pointwise: {model: judge}}"""
    max_tokens: int = Field(512, ge=1, le=1_000_000)
    """maximum length of an answer, in tokens"""
    seed: int = 0
    """random seed of the intervals"""

    @model_validator(mode="before")
    @classmethod
    def _rule_is_a_judge(cls, data: Any) -> Any:
        """`rule: X` says `judge: {judge.rule: X}`."""
        if not isinstance(data, dict) or data.get("rule") is None:
            return data
        if "judge" in data:
            raise ValueError("set either `rule` or `judge`")
        rule = data["rule"]
        return data | {"judge": {"judge.rule": {"kind": rule} if isinstance(rule, str) else rule}}

    @model_validator(mode="after")
    def _judges_one_answer(self):
        title = self.judge if isinstance(self.judge, str) else next(iter(self.judge), "")
        if why := UNFIT.get(title):
            raise ValueError(
                f"{title} {why}, and here each row has one answer; use judge.rule, judge.pointwise or judge.claims"
            )
        return self


def named_files(settings: Settings) -> tuple[str, ...]:
    """The rows, if they are on this machine: when they change, the evaluation is made once more."""
    path = urls.fill_variables(settings).path
    return () if urls.is_url(path) else (row_files.limited(path)[0],)


class Row(NamedTuple):
    """The answer to one row, and what its judge says."""

    id: str
    kind: str
    values: dict[
        str, float
    ]  # `right`, 0 or 1, and the mean of each other axis that the judge has a verdict on; `words`
    abstained: bool
    cut_off: bool
    seen: bool  # it is also a prompt of this run


async def evaluate(tables: Tables, settings: Settings, context: Context) -> dict:
    """{`all` or a media kind: {metric: {value, low, high}, rows: n}}, and rejections of rows that are not in it; 95 % bootstrap intervals.

    `right`: share of answers whose `truth` (or `format`) is 0; other axes: their mean, as the judge leaves them; `words`. A metric is over the
    rows with a verdict. `all` also has `cut_off` (answers that max_tokens cut off) and `seen` (rows that are also prompts of this run). The
    answers are in answers.jsonl of `context.folder`, the resamples beside it. InputError if no row can be used or the judge knows nothing about
    any of them; EngineError if a request failed for the time being."""
    known = {id for batch in tables.batches("samples", ["id"]) for id in batch["id"].to_pylist()}
    rejected: list[Rejection] = []
    rows: list[Row] = []
    path = context.folder / ANSWERS
    with disk(path), path.open("w") as file:
        for batch in _batches(settings, context, rejected):
            for found in await asyncio.gather(*(_answered(sample, known, settings, context) for sample in batch)):
                if isinstance(found, Rejection):
                    rejected.append(found)
                else:
                    rows.append(found[0])
                    file.write(json.dumps(found[1]) + "\n")
            context.progress(len(rows) + len(rejected), None, "rows")
    if not rows:
        raise InputError(
            f"{context.step}: none of the {len(rejected):,} rows can be used; the first: {rejected[0].detail}"
        )
    if all(row.abstained for row in rows):
        raise InputError(
            f"{context.step}: the judge knows nothing about any of the {len(rows):,} rows; they need what it compares with, such as `answer` "
            "(`columns: {answer: NAME}` if the column has another name), or set another `rule` or `judge`"
        )
    return _figures(rows, settings, context) | {"rejections": rejected}


def _batches(settings: Settings, context: Context, rejected: list[Rejection]) -> Iterator[list[Sample]]:
    """The samples of the rows in batches; rows that are none go to `rejected`, and so do repeated ones."""
    batch: list[Sample] = []
    seen: set[str] = set()
    for row in source.read(urls.fill_variables(settings), context):
        if isinstance(row, Rejection):
            rejected.append(row)
        elif isinstance(row, Sample) and row.id in seen:
            detail = f"{sample_label(row)}: duplicate of an earlier prompt with the same media; remove one of them"
            rejected.append(_rejection(row, Reason.DUPLICATE, detail, context))
        elif isinstance(row, Sample):
            seen.add(row.id)
            batch.append(row)
            if len(batch) == BATCH:
                yield batch
                batch = []
    if batch:
        yield batch


def _rejection(sample: Sample, reason: Reason, detail: str, context: Context) -> Rejection:
    """The row's rejection. Its id is not the sample's, which would drop a sample of the run that has the same prompt."""
    return Rejection(f"{sample.id}~{context.step}", "samples", context.step, reason, detail)


async def _answered(
    sample: Sample, known: set[str], settings: Settings, context: Context
) -> tuple[Row, dict[str, Any]] | Rejection:
    """(the row, its line of answers.jsonl), or why it has no answer."""
    engine = context.engines[settings.model]
    result = await engine.ask(Generate(sample.prompt, 1, 0.0, 1.0, settings.max_tokens, 0))
    if isinstance(result, Failure):
        if result.reason in OPEN:
            raise EngineError(f"cannot evaluate the model: {sample_label(sample)}: {result.reason}: {result.detail}")
        return _rejection(sample, Reason(result.reason), f"{sample_label(sample)}: {result.detail}", context)
    answer = result.answers[0]
    rows = SampleRows(sample)
    rows.candidates = [
        candidate(
            sample.id, context.step, answer.text, model=engine.identity, settings=context.version, finish=answer.finish
        )
    ]
    try:
        found = context.built["judge"](rows)
        found = await found if inspect.isawaitable(found) else found
    except RowError as error:
        return _rejection(sample, error.reason, error.detail, context)
    judgements = [row for row in found if isinstance(row, Judgement)]
    values = _values(judgements) | {"words": word_count(answer.text)}
    abstained = all(j.outcome == Outcome.ABSTAIN for j in judgements)
    line = {
        "source": sample.source, "kind": sample.kind, "answer": answer.text, **values,
        "judgements": [{"axis": j.axis, "outcome": j.outcome, "value": j.value, "raw": j.raw} for j in judgements],
    }  # fmt: skip
    return Row(sample.id, sample.kind, values, abstained, answer.finish == LENGTH, sample.id in known), line


def _values(judgements: list[Judgement]) -> dict[str, float]:
    """What is said of one answer: `right`, 1 or 0 (also of one that the rule cannot read), and the mean of each other axis that says how good it is."""
    found: defaultdict[str, list[float]] = defaultdict(list)
    for j in judgements:
        if j.axis == TRUTH and j.target == "candidate" and j.outcome == Outcome.UNPARSABLE:
            found["right"].append(0.0)
        if j.value is None or j.outcome not in (Outcome.VERDICT, Outcome.TIE) or not is_quality(j.axis):
            continue
        known = j.axis in (TRUTH, FORMAT) and j.target == "candidate"
        found["right" if known else j.axis].append(float(j.value >= 0) if known else j.value)
    return {name: min(values) if name == "right" else sum(values) / len(values) for name, values in found.items()}


def _figures(rows: list[Row], settings: Settings, context: Context) -> dict[str, dict[str, Any]]:
    names = list(dict.fromkeys(name for row in rows for name in row.values))
    # of each metric its sum and the number of rows that have it
    counts = np.array(
        [[part for name in names for part in (row.values.get(name, 0), name in row.values)] for row in rows], float
    )
    kinds = np.array([row.kind for row in rows])
    out: dict[str, dict[str, Any]] = {}
    for kind in ("all", *(kind for kind in SAMPLE_KINDS if kind in kinds)):
        some = counts if kind == "all" else counts[kinds == kind]
        values = replicates(some, lambda sums: sums[:, ::2] / np.maximum(sums[:, 1::2], 1), settings.seed)
        out[kind] = {name: interval(values[:, i]) for i, name in enumerate(names) if some[:, 2 * i + 1].any()}
        out[kind] |= {"rows": len(some)}
        if kind == "all":
            keep(context.folder, names, values, digest("rows", [row.id for row in rows], settings.seed))
            out[kind] |= {"cut_off": sum(row.cut_off for row in rows), "seen": sum(row.seen for row in rows)}
    return out
