"""A small run's rows without a model: real scenes, answers with drawn faults, a judge that errs now and then, real scores and pairs."""

import asyncio
import json
import random
import re
from functools import partial
from pathlib import Path

from annotators.judge import rule
from annotators.measures import agreement
from annotators.score import refuted_claims
from annotators.split import patterns
from flows.reports import summary
from pipeline.pair import best_worst
from pipeline.source import scenes
from pipeline.storage.answer_cache import Usage
from schemas import messages, records
from schemas.arrow import TABLE_OF, TABLES, to_batch
from schemas.operator import Context, SampleRows
from schemas.ports import MediaStore
from schemas.recipe import Price
from schemas.records import Outcome, Reason, Rejection

RECIPE = {
    "name": "small",
    "about": "Scenes, four answers each, claims judged, best against worst.",
    "models": {"policy": {"engine": "vllm", "model": "data/models/tiny"}},
    "steps": [
        {"source.scenes": {"n": 40, "seed": 3}},
        {"make.sample": {"model": "policy", "n": 4, "temperature": 1.0}},
        {"judge.claims": {"model": "policy"}},
        {"judge.rule": {"name": "truth"}},
        {"score.refuted_claims": {"malformed": -3}},
        {"pair.best_worst": {"min_margin": 1}},
    ],
}
USAGES = {
    "sample": {"policy": Usage(40, prompt_tokens=2120, answer_tokens=1740, media=50, seconds=12.5).figures()},
    "claims": {
        "policy": Usage(
            270, 12, failed=1, prompt_tokens=8410, answer_tokens=282, cached_prompt_tokens=370, cached_answer_tokens=12
        ).figures()
    },
}
SWAPS = [["red", "green", "blue", "yellow", "purple", "orange"], ["circle", "square", "triangle", "star", "cross"],
         ["left", "right"], ["up", "down"], ["low", "high"], ["one", "two", "three", "four"]]  # fmt: skip


class ListTables:
    """Tables whose live rows are lists of records."""

    def __init__(self, rows: dict[str, list], size: int = 64):
        self.rows, self.size = rows, size

    def batches(self, table, columns=None):
        rows = self.rows.get(table, [])
        for start in range(0, len(rows), self.size):
            batch = to_batch(table, rows[start : start + self.size])
            yield batch.select(columns) if columns else batch


def make(media: MediaStore, n: int = 40, seed: int = 3) -> ListTables:
    """The tables of a run over `n` scenes, ordered as a run leaves them: sample by sample."""
    context = partial(Context, version="v", media=media, built={"splitter": _split})
    tables: dict[str, list] = {name: [] for name in TABLES}
    samples = []
    for row in scenes.read(scenes.Settings(n=n, seed=seed), context(step="scenes")):
        (samples if isinstance(row, records.Sample) else tables["media"]).append(row)
    for sample in samples:
        rng = random.Random(sample.id)
        rows = SampleRows(sample)
        rows.candidates = [
            records.candidate(sample.id, "sample", _faulty(sample.reference, rng), model="tiny@1", seed=1, index=i)
            for i in range(4)
        ]
        for candidate in rows.candidates:
            claims, slips = _judged(candidate, rows, rng)
            rows.claims += claims
            rows.judgements += slips
        rows.judgements += asyncio.run(rule.judge(rows, rule.Settings(), context(step="truth")))
        rows.judgements += refuted_claims.score(rows, refuted_claims.Settings(malformed=-3), context(step="score"))
        paired = best_worst.pair(rows, best_worst.Settings(), context(step="pair", recipe="small"))
        for row in (sample, *rows.candidates, *rows.claims, *rows.judgements, *paired):
            tables[TABLE_OF[type(row)]].append(row)
    tables["rejections"].append(Rejection("0" * 32, "samples", "scenes", Reason.DUPLICATE, "seen before", "0" * 32))
    return ListTables(tables)


def summarised(tables: ListTables) -> dict:
    """The summary such a run leaves, with a training and three evaluations as the demo has them."""
    return {"name": RECIPE["name"], "about": RECIPE["about"], "recipe": RECIPE, "rounds": 1} | summary.counts(tables) | {
        "seconds": {"pass-1": 41.2, "before": 7.1, "dataset": 0.3, "train": 11.9, "after": 7.0, "control": 7.2},
        **summary.usage_summary(USAGES, {"sample": "pass-1", "claims": "pass-1"}, {"policy": Price(prompt=2.5, answer=10, currency="EUR")}),
        "train": {"train": {"pairs": 30, "steps": 12, "loss": 0.21, "accuracy": 0.94, "margin": 3.1, "seconds": 11.9}},
        "evaluate": {"before": _figures(0.37), "after": _figures(0.04), "control": _figures(0.44)},
        "dataset": "dataset",
    }  # fmt: skip


def people() -> dict:
    """The figures of a step in which four people judged the same 60 pairs; person:4 tosses a coin."""
    rng = random.Random(9)
    votes = []
    for i in range(60):
        truth = rng.choice([1, -1])
        for n in range(1, 5):
            value = truth if rng.random() < (0.5 if n == 4 else 0.9) else -truth
            known = value == truth if i < 10 else None
            left = (value > 0) == (rng.random() < 0.5)
            votes.append(
                agreement.Vote(f"q{n}.{i}", f"pair{i}", f"person:{n}", "preference", value, 20 + n, left, known)
            )
    return {
        "task": "pairwise", "asked": 250, "answered": 240, "states": {"agreed": 50, "open": 10}, "quarantine": {"span_text": 2},
        "quality": agreement.reliability(votes, "preference"),
    }  # fmt: skip


def _figures(hallucination: float) -> dict:
    lift = {"image": 1.3, "multi_image": 0.8, "video": 0.7, "audio": 1.2, "mean": 1.0}
    return {
        kind: {
            name: {"value": value, "low": max(0, value - 0.03), "high": min(1, value + 0.03)}
            for name, value in {
                "words": 1 - hallucination / 9,
                "hallucination": hallucination * by, "chair": hallucination * by / 2, "recall": 0.95 - hallucination / 5,
                "accuracy": 1 - hallucination * by, "yes_no_accuracy": 0.98, "yes_no_f1": 0.98,
            }.items()
        }
        for kind, by in lift.items()
    }  # fmt: skip


def _split(question: str, answer: str):
    path = Path(__file__).parents[2] / "data" / "scenes" / "patterns.yaml"
    return patterns.split(question, answer, patterns.Settings(path=str(path)), None)


def _faulty(answer: str, rng: random.Random) -> str:
    """The true answer, or one with a word of it exchanged, or now and then nonsense."""
    if rng.random() < 0.03:
        return "the the ."
    words = [(word, group) for group in SWAPS for word in group if re.search(rf"\b{word}\b", answer)]
    if rng.random() < 0.5 or not words:
        return answer
    word, group = rng.choice(words)
    return re.sub(rf"\b{word}\b", rng.choice([w for w in group if w != word]), answer, count=1)


def _judged(candidate, rows: SampleRows, rng: random.Random):
    """Claims and verdicts as `judge.claims` leaves them, one in twenty wrong and one in fifty unreadable."""
    found = _split(messages.question_of(rows.sample.prompt), candidate.text)
    slip = partial(records.judgement, candidate.sample, "claims", by=records.Provenance("tiny@1", "v"))
    slips = [slip("candidate", (candidate.id,), "form", records.Finding(Outcome.VERDICT, float(found is not None)))]
    truth = json.loads(rows.sample.facts)["yes"]
    claims = []
    for index, (question, wanted) in enumerate(found or ()):
        row = records.claim(candidate, "claims", index, question, wanted)
        stands = ((question in truth) == wanted) != (rng.random() < 0.05)
        prob = round(rng.uniform(0.8, 0.99) if stands else rng.uniform(0.01, 0.2), 4)
        readable = rng.random() > 0.02
        claims.append(row)
        slips.append(
            slip("claim", (row.id,), "claim", records.Finding(Outcome.VERDICT, float(stands), prob, "yes no"))
            if readable
            else slip("claim", (row.id,), "claim", records.Finding(Outcome.UNPARSABLE, raw="maybe"))
        )
    return claims, slips
