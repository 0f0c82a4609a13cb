"""Rule-based judge for samples with a ground truth: the answer is checked against the Sample's `answer`, its claims against the
Sample's `facts`, its form against the instructions of the row or a pattern.

Facts are JSON {"yes": [questions whose answer is yes], "expect": [[question, wanted], ...]}. The world is closed: the answer to every
other question is no. `expect` lists what a complete answer states."""

import asyncio
import json
import re
from collections.abc import Generator
from contextlib import contextmanager
from functools import lru_cache, partial
from typing import Any, Literal, get_args

from pydantic import Field, model_validator

from annotators.rules import answers, boxes, choice, instructions, sandbox, statement
from annotators.rules.answers import RuleResult
from schemas import messages, prompts
from schemas.axes import F1, FORMAT, INSTRUCTIONS, IOU, RECALL, REFUSAL, TRUTH
from schemas.claim_patterns import Truth, truth_of
from schemas.errors import NoVerdict, RowError
from schemas.messages import sample_label
from schemas.operator import Context, SampleRows
from schemas.operator import OperatorSettings as Base
from schemas.records import SAMPLE_KINDS, Finding, Judgement, Outcome, Provenance, Sample, judgement

READS = ("candidates",)
SEES = ("claims",)
LEAVES = ("judgements",)
MEDIA = SAMPLE_KINDS
SCOPE = "sample"
VERSION = 3
BUILDS = {"splitter": "split"}

Kind = Literal[
    "facts", "instructions", "final", "contains", "exact", "normalised", "f1", "math", "choice", "number", "iou", "class", "regex",
    "json_schema", "refusal",
]  # fmt: skip
FORMS = ("regex", "json_schema", "refusal")  # rules that need no ground truth
SLOW = ("math", "regex", "json_schema")  # rules that may hang, so they run in a process that can be killed
NUMBERS = ("number", "integer", "int", "float", "numeric", "count")
CHOICES = ("choice", "multiple_choice", "mcq", "letter", "option")
TYPES: dict[str, Kind] = {
    **dict.fromkeys((*NUMBERS, *CHOICES, "word", "words", "short", "name", "text", "string", "label"), "final"),
    **dict.fromkeys(("yes/no", "yes_no", "yesno", "boolean", "bool"), "final"),
    **dict.fromkeys(("formula", "latex", "equation", "expression"), "math"), **dict.fromkeys(("box", "bbox"), "iou"),
}  # fmt: skip
"""The rule for a row's `answer_type`, unless that is the name of a rule itself; those in this table come first."""
PARTIAL = {"iou": IOU, "f1": F1, "instructions": INSTRUCTIONS}  # rules whose value, 0..1, is kept on an axis of its own
AXES = {"regex": FORMAT, "json_schema": FORMAT, "refusal": REFUSAL}
THINK = r"<think>.*?</think>\s*<answer>.*?</answer>"


class Settings(Base):
    kind: Kind | None = None
    """the rule; by default as the row's `answer_type` says, else facts or instructions if the row has any, else final"""
    splitter: str | dict[str, Any] = "split.patterns"
    """facts: the operator that splits an answer into claims; it must not ask a model"""
    tolerance: float | None = Field(None, ge=0)
    """largest relative error of a number; by default 0.05 for number (ChartQA) and 0 for final"""
    threshold: float = Field(0.5, gt=0, le=1)
    """iou, f1: smallest value at which an answer is right"""
    labels: tuple[str, ...] = ()
    """class, final: all labels, of which an answer names one"""
    loose: bool = False
    """instructions: followed too if without the first line, the last line or asterisks (IFEval's loose accuracy)"""
    regex: str = THINK
    """regex: what the whole answer must match; by default <think> and <answer> tags"""
    json_schema: dict[str, Any] | None = None
    """json_schema: the JSON Schema that the answer must follow"""
    refusals: str | None = None
    """refusal: file with one phrase per line that replaces the built-in list"""
    axis: str | None = None
    """axis of the judgements: by default truth; format for regex and json_schema, refusal for refusal"""

    @model_validator(mode="after")
    def _whole(self):
        if self.kind == "class" and not self.labels:
            raise ValueError("`kind: class` needs its `labels`")
        if (self.kind == "json_schema") != (self.json_schema is not None):
            raise ValueError("`kind: json_schema` needs the setting `json_schema`, and no other kind takes it")
        try:
            re.compile(self.regex)
        except re.error as error:
            raise ValueError(f"`regex` does not compile: {error}") from None
        return self


def digested(settings: Settings) -> dict[str, Any]:
    """The settings in a step's version: without those that are newer than it and at their default."""
    return settings.model_dump(mode="json", exclude=None if settings.loose else {"loose"})


def prompt_texts(settings: Settings) -> tuple[str, ...]:
    return (prompts.read(settings.refusals, answers.__file__, "refusals.txt"),) if settings.kind == "refusal" else ()


def kind_of(sample: Sample, settings: Settings) -> Kind | None:
    """The rule for a sample; None if the sample has no ground truth that a rule could use."""
    if settings.kind:
        return settings.kind if settings.kind in FORMS or _known(sample, settings.kind) else None
    return next((k for k in (*_typed(sample, settings), "facts", "instructions", "final") if _known(sample, k)), None)


def _typed(sample: Sample, settings: Settings) -> list[Kind]:
    named = _type(sample)
    if named in TYPES or (named == "class" and not settings.labels):
        return [TYPES.get(named, "final")]
    return [k for k in get_args(Kind) if k == named and k not in FORMS]


def _type(sample: Sample) -> str:
    return (sample.answer_type or "").strip().casefold().replace("-", "_").replace(" ", "_")


def _known(sample: Sample, kind: str) -> bool:
    if kind == "instructions":
        return bool(_instructions(sample))
    return _facts(sample.facts) is not None if kind == "facts" else sample.answer is not None


def _instructions(sample: Sample) -> tuple[instructions.Instruction, ...]:
    with _row_named(sample, "remove it from instruction_id_list"):
        return instructions.instructions_of(sample.facts)


@lru_cache(4)
def _facts(text: str | None) -> dict | None:
    """The facts if claims can be checked against them (a JSON object with `yes`), else None."""
    found = json.loads(text) if text else None
    return found if isinstance(found, dict) and "yes" in found else None


async def judge(rows: SampleRows, settings: Settings, context: Context) -> list[Judgement]:
    """Per Candidate, `truth`: 0 if it is right, below 0 if it is wrong; it abstains if the sample has no ground truth.

    facts: minus the number of false claims, also `recall`, and 1 or 0 for each Claim. iou, f1, instructions: also the value, 0..1. refusal: 1
    (refuses) or 0. RowError (BAD_ROW) if the rule cannot be applied to the ground truth. A rule that times out or crashes on an answer is
    `failed`, and so are the sample's other answers if the rule is the row's own; an answer that final cannot read is `unparsable`."""
    sample, kind = rows.sample, kind_of(rows.sample, settings)
    if kind == "facts":
        return _by_facts(rows, settings, context)
    by = Provenance(f"rule.{kind or settings.kind or 'facts'}", context.version)
    axis = settings.axis or AXES.get(kind, TRUTH)
    found: dict[str, RuleResult | NoVerdict] = {}
    out = []
    for c in rows.candidates:
        make = partial(judgement, sample.id, context.step, "candidate", (c.id,), by=by)
        if kind is None:
            out.append(make(axis, Finding(Outcome.ABSTAIN)))
            continue
        if c.text not in found:
            hung = next((f for f in found.values() if kind == "instructions" and isinstance(f, NoVerdict)), None)
            found[c.text] = hung or await _checked(kind, c.text, sample, settings)
        checked = found[c.text]
        if isinstance(checked, NoVerdict):
            out.append(make(axis, Finding(checked.outcome, raw=checked.raw)))
            continue
        value = checked.value if kind == "refusal" else float(checked.value >= _enough(kind, settings)) - 1
        out.append(make(axis, Finding(Outcome.VERDICT, value, raw=checked.read)))
        if kind in PARTIAL:
            out.append(make(PARTIAL[kind], Finding(Outcome.VERDICT, checked.value, raw=checked.read)))
    return out


def _by_facts(rows: SampleRows, settings: Settings, context: Context) -> list[Judgement]:
    sample, facts = rows.sample, _facts(rows.sample.facts) or {}
    yes = set(facts["yes"])
    make = partial(judgement, sample.id, context.step, by=Provenance("rule.facts", context.version))
    out = []
    for c in rows.claims:
        value = float((c.question in yes) == c.wanted)
        out.append(make("claim", (c.id,), TRUTH, Finding(Outcome.VERDICT, value)))
    question = messages.question_of(sample.prompt)
    truths: dict[str, Truth] = {}
    for c in rows.candidates:
        if (truth := truths.get(c.text)) is None:
            truth = truths[c.text] = truth_of(facts, context.built["splitter"](question, c.text))
        for axis, value in ((settings.axis or TRUTH, -float(truth.false)), (RECALL, round(truth.recall, 4))):
            out.append(make("candidate", (c.id,), axis, Finding(Outcome.VERDICT, value)))
    return out


def _enough(kind: str, settings: Settings) -> float:
    return settings.threshold if kind in ("iou", "f1") else 1.0


async def _checked(kind: Kind, text: str, sample: Sample, settings: Settings) -> RuleResult | NoVerdict:
    try:
        if kind in SLOW or (kind == "instructions" and any(i.name in instructions.SLOW for i in _instructions(sample))):
            return await asyncio.get_running_loop().run_in_executor(sandbox.turns, check, kind, text, sample, settings)
        return check(kind, text, sample, settings)
    except NoVerdict as error:
        return error


def check(kind: Kind, text: str, sample: Sample, settings: Settings) -> RuleResult:
    """Checks one answer by one rule (any but facts).

    NoVerdict if the rule takes longer than five seconds, crashes or cannot read the answer; RowError (BAD_ROW) if it cannot be applied to the
    ground truth."""
    known = sample.answer or ""
    with _row_named(sample):
        match kind:
            case "instructions":
                return instructions.followed(text, instructions.instructions_of(sample.facts), settings.loose)
            case "final":
                asked, typed = messages.question_of(sample.prompt), _type(sample)
                if typed in NUMBERS:
                    answers.check_number(known)
                if typed in CHOICES:
                    return statement.chosen(text, known, asked)
                return statement.final(text, known, asked, settings.tolerance or 0, settings.labels)
            case "contains":
                return statement.contains(text, known)
            case "f1":
                return answers.token_f1(text, known)
            case "exact":
                return answers.exact(text, known)
            case "normalised":
                return answers.normalised(text, known)
            case "math":
                return sandbox.worker.ask("mathematics", text, known)
            case "choice":
                return choice.choice(text, known, choice.options_of(messages.text_of(sample.prompt)))
            case "number":
                return answers.number(text, known, 0.05 if settings.tolerance is None else settings.tolerance)
            case "iou":
                return boxes.iou(text, known)
            case "class":
                return answers.label(text, known, settings.labels)
            case "regex":
                return sandbox.worker.ask("pattern", text, settings.regex)
            case "json_schema":
                return sandbox.worker.ask("schema", text, settings.json_schema)
            case "refusal":
                return answers.refused(text, _phrases(settings.refusals))
            case "facts":
                raise ValueError("`facts` does not compare with one known answer")


@contextmanager
def _row_named(sample: Sample, otherwise: str = "use another `kind:`") -> Generator[None]:
    """Names the row and the remedy in a RowError."""
    try:
        yield
    except RowError as error:
        raise RowError(error.reason, f"{sample_label(sample)}: {error.detail}; correct it, or {otherwise}") from None


@lru_cache
def _phrases(path: str | None) -> list[str]:
    return prompts.read(path, answers.__file__, "refusals.txt").splitlines()


def reward(sample: Sample, texts: list[str], settings: Settings, context: Context) -> list[float]:
    """Rewards for GRPO, one per text. facts: 0.5 for an exact answer plus 0.5 x F1 of its claims, -1 if malformed; range -1..1.
    iou, f1, instructions: the value, 0..1 (VLM-R1's IoU). Other kinds: 1 or 0; 0 for an answer that cannot be read. If the rule has no verdict,
    all texts get 0, so nothing is learnt from them."""
    try:
        kind = kind_of(sample, settings)
    except RowError:
        kind = None
    if kind is None:
        return [0.0] * len(texts)
    if kind == "facts":
        return [_reward_of(text, _facts(sample.facts) or {}, sample, context) for text in texts]
    try:
        return [_value(kind, text, sample, settings) for text in texts]
    except (NoVerdict, RowError):
        return [0.0] * len(texts)


def _value(kind: Kind, text: str, sample: Sample, settings: Settings) -> float:
    try:
        return check(kind, text, sample, settings).value
    except NoVerdict as error:
        if error.outcome == Outcome.UNPARSABLE:
            return 0.0
        raise


def _reward_of(text: str, facts: dict, sample: Sample, context: Context) -> float:
    truth = truth_of(facts, context.built["splitter"](messages.question_of(sample.prompt), text))
    precision = 1 - truth.false / truth.claims if truth.claims else 0.0
    f1 = 2 * precision * truth.recall / (precision + truth.recall) if precision + truth.recall else 0.0
    return -1.0 if truth.malformed else 0.5 * truth.exact + 0.5 * f1
