"""Shared by the judges that generate text: settings, prompt construction, and one retry of a reply that cannot be parsed."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from pydantic import Field

from annotators.judge._parse import ParsedReply
from schemas import messages as chat
from schemas import prompts
from schemas.conversation import request_about
from schemas.errors import NotAsked, RecipeError
from schemas.finish import unfinished, with_first, with_thought
from schemas.operator import Context, SampleRows
from schemas.operator import OperatorSettings as Base
from schemas.ports import Engine
from schemas.records import Candidate, Finding, Message, Outcome, Provenance, Reason
from schemas.requests import Failure, Form, Generate

RETRY_TEMPERATURE = 0.7  # at least this on the retry: greedy decoding would repeat the first reply
RETRIED = (Outcome.UNPARSABLE, Outcome.REFUSED)  # outcomes that are retried once


class JudgeSettings(Base):
    """Settings common to all model judges that generate text."""

    model: str
    """the recipe's model that judges, by name"""
    media: bool = True
    """show the media to the judge; without them it sees the text only"""
    facts: bool = False
    """show the ground truth to the judge: the sample's facts, else its reference, else its answer (Fact-RLHF, SIMA)"""
    prompt: str | None = None
    """prompt file that replaces the built-in one"""
    temperature: float = Field(0.0, ge=0)
    """sampling temperature; 0 is greedy, above 0 the reply depends on the seed"""
    max_tokens: int = Field(512, ge=1, le=1_000_000)
    """maximum length of a reply, in tokens"""
    seed: int = 0
    """random seed of the replies and of random orders"""


class JudgeReply(NamedTuple):
    """The final reply of a judge to one request."""

    reply: ParsedReply[Any]
    raw: str  # the reply's text, after the reason if it is incomplete; or the reason of the failure
    attempt: int = 0  # 1 if this is the retry
    prob: float | None = None  # 0..1, from token probabilities; None for a reply parsed from text
    mass: float | None = None  # 0..1, probability of the allowed words as the first token, if this was asked for

    def finding(self, value: float | None) -> Finding:
        """The Finding of a Judgement with this outcome, probability, raw reply and mass, and the given `value`."""
        return Finding(self.reply.outcome, value, self.prob, self.raw, self.mass)

    def by(self, engine: Engine, context: Context, order: int = 0) -> Provenance:
        """The Provenance of that Judgement; `order` is the position at which the judged item was shown, from 0."""
        return Provenance(engine.identity, context.version, order, self.attempt)


def template(settings: JudgeSettings, beside: str, name: str) -> str:
    """The prompt file with {facts} filled in: a block with the ground truth if `facts` is set, else empty.

    RecipeError if `facts` is set and the prompt has no {facts}."""
    text = prompts.read(settings.prompt, beside, name)
    if settings.facts and "{facts}" not in text:
        raise RecipeError(
            f"`facts: true` needs a prompt with the placeholder {{facts}}; add it to {settings.prompt or name}"
        )
    block = prompts.read(None, __file__, "facts.txt") + "\n" if settings.facts else ""
    return text.replace("{facts}", block)


def judge_messages(
    text: str, rows: SampleRows, settings: JudgeSettings, answers: str = "", **words: str
) -> tuple[Message, ...]:
    """The request of a judge: the sample's complete prompt (its media unless `media` is off) and `text` with its placeholders filled.

    {question}, {known} and `words` are escaped so that they cannot close their fences; {answers} must be fenced already."""
    sample = rows.sample
    text = prompts.for_kind(text, sample.kind, settings.prompt)
    known = sample.facts or sample.reference or sample.answer or "nothing"
    words |= {"question": chat.question_of(sample.prompt), "known": known}
    head, place, tail = text.partition("{answers}")
    text = prompts.fill(head, **words) + (answers if place else "") + prompts.fill(tail, **words)
    return request_about(sample.prompt, text, settings.media)


def numbered_answers(answers: Sequence[Candidate | str]) -> str:
    """The answers as one text, numbered from 1, each in a fence that it cannot close; empty without answers."""
    texts = [a if isinstance(a, str) else a.text for a in answers]
    return "\n".join(f"Answer {i}:\n<<<\n{prompts.guard(text)}\n>>>" for i, text in enumerate(texts, 1))


async def ask_with_retry(
    engine: Engine,
    messages: tuple[Message, ...],
    settings: JudgeSettings,
    read: Callable[[str], ParsedReply],
    form: Form | None = None,
) -> JudgeReply:
    """Requests a reply and parses it with `read`; an unparsable or refused reply is requested once more with another seed, and the
    second reply then counts; `raw` holds both. A reply that did not end by itself is not parsed: it is refused if a filter ended it, else unparsable.

    If the engine fails, the outcome is `failed`; if only the retry fails, the first reply counts. `form` constrains the output on
    engines that support it."""
    first = await _once(engine, messages, settings, read, form, 0)
    if first.reply.outcome not in RETRIED:
        return first
    try:
        second = await _once(engine, messages, settings, read, form, 1)
    except NotAsked:  # rejudge: no retry is cached because the parser used to accept the first reply
        return first
    if second.reply.outcome == Outcome.FAILED:
        return first
    return second._replace(raw=with_first(second.raw, first.raw))


async def _once(
    engine: Engine,
    messages: tuple[Message, ...],
    settings: JudgeSettings,
    read: Callable[[str], ParsedReply],
    form: Form | None,
    attempt: int,
) -> JudgeReply:
    temperature = max(settings.temperature, RETRY_TEMPERATURE) if attempt else settings.temperature
    form = form if "Form" in engine.can else None
    request = Generate(
        messages, 1, temperature, max_tokens=settings.max_tokens, seed=settings.seed ^ attempt << 20, form=form
    )
    result = await engine.ask(request)
    if isinstance(result, Failure):
        return JudgeReply(ParsedReply(Outcome.FAILED), f"{result.reason}: {result.detail}")
    (answer,) = result.answers
    if cut := unfinished(answer, settings.max_tokens):
        outcome = Outcome.REFUSED if cut.reason == Reason.FILTERED else Outcome.UNPARSABLE
        return JudgeReply(ParsedReply(outcome), f"{cut.reason}: {cut.detail}: {with_thought(answer)}", attempt)
    return JudgeReply(read(answer.text), with_thought(answer), attempt)
