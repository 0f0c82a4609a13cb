"""Judges by rule, where the truth is known: an answer's claims against the Sample's `facts`.

Facts are JSON {"yes": [questions truly answered yes], "expect": [[question, wanted], ...]}; the world is closed, so every
other question is answered no. `expect` is what a complete true answer states."""

import json
from typing import Any, NamedTuple

from schemas import chat
from schemas.operator import Context, Rows
from schemas.operator import Settings as Base
from schemas.records import SAMPLE_KINDS, Judgement, Outcome, Sample, judgement

READS = ("candidates",)
SEES = ("claims",)
LEAVES = ("judgements",)
MEDIA = SAMPLE_KINDS
SCOPE = "sample"
VERSION = 1
BUILDS = {"splitter": "split"}
ANNOTATOR = "rule.facts"


class Settings(Base):
    splitter: str | dict[str, Any] = "split.patterns"
    """the operator that splits an answer into claims (one that asks no model)"""


class Truth(NamedTuple):
    claims: int
    false: int
    recall: float  # 0..1, share of the expected claims that are stated; 1 when nothing is expected
    malformed: bool

    @property
    def exact(self) -> bool:
        return not self.malformed and self.false == 0 and self.recall == 1


def truth_of(facts: dict, claims: list[tuple[str, bool]] | None) -> Truth:
    """How true and how complete an answer with these claims is; None (malformed) is one false claim."""
    if claims is None:
        return Truth(1, 1, 0.0, True)
    yes = set(facts["yes"])
    false = sum((question in yes) != wanted for question, wanted in claims)
    expected = {tuple(e) for e in facts.get("expect", ())}
    recall = len(expected & set(claims)) / len(expected) if expected else 1.0
    return Truth(len(claims), false, recall, False)


def judge(rows: Rows, settings: Settings, context: Context) -> list[Judgement]:
    """`truth` of each Claim (1 or 0) and of each Candidate (minus its false claims; `recall` beside it). Without facts: abstain."""
    sample = rows.sample
    facts = json.loads(sample.facts) if sample.facts else None
    yes = set(facts["yes"]) if facts else ()
    made: dict[str, Any] = {"annotator": ANNOTATOR, "version": context.version}
    out = []
    for c in rows.claims:
        if facts is not None:
            value = float((c.question in yes) == c.wanted)
            out.append(
                judgement(sample.id, context.step, "claim", (c.id,), "truth", Outcome.VERDICT, value=value, **made)
            )
    question = chat.asked_of(sample.prompt)
    truths: dict[str, Truth] = {}
    for c in rows.candidates:
        if facts is None:
            out.append(judgement(sample.id, context.step, "candidate", (c.id,), "truth", Outcome.ABSTAIN, **made))
            continue
        if (truth := truths.get(c.text)) is None:
            truth = truths[c.text] = truth_of(facts, context.built["splitter"](question, c.text))
        for axis, value in (("truth", -float(truth.false)), ("recall", round(truth.recall, 4))):
            out.append(
                judgement(sample.id, context.step, "candidate", (c.id,), axis, Outcome.VERDICT, value=value, **made)
            )
    return out


def reward(sample: Sample, texts: list[str], settings: Settings, context: Context) -> list[float]:
    """For GRPO: half for an exact answer, half for the F1 of its claims, -1 for a malformed one. Range -1..1."""
    facts = json.loads(sample.facts or '{"yes": []}')
    out = []
    for text in texts:
        truth = truth_of(facts, context.built["splitter"](chat.asked_of(sample.prompt), text))
        precision = 1 - truth.false / truth.claims if truth.claims else 0.0
        f1 = 2 * precision * truth.recall / (precision + truth.recall) if precision + truth.recall else 0.0
        out.append(-1.0 if truth.malformed else 0.5 * truth.exact + 0.5 * f1)
    return out
