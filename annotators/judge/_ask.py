"""What the judges that write share: their settings, how a question is put, and one more try where the reply cannot be read."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from pydantic import Field

from annotators.judge._parse import Reply
from schemas import messages as chat
from schemas import prompts
from schemas.errors import NotAsked, RecipeError
from schemas.operator import Context, SampleRows
from schemas.operator import OperatorSettings as Base
from schemas.ports import Engine
from schemas.records import Candidate, Finding, Message, Outcome, Provenance
from schemas.requests import Failure, Form, Generate

AGAIN = 0.7  # temperature of the second try: a greedy one would say the same again
LOST = (Outcome.UNPARSABLE, Outcome.REFUSED)  # replies that are asked for once more


class JudgeSettings(Base):
    """What every judge that is a model may be told."""

    model: str
    """name of the recipe's model that judges"""
    media: bool = True
    """show the judge the media; without them it can only weigh the words"""
    facts: bool = False
    """tell the judge what is known: the sample's facts, else its reference, else its answer (Fact-RLHF, SIMA)"""
    prompt: str | None = None
    """file that asks, instead of the one beside this module"""
    temperature: float = Field(0.0, ge=0)
    """0 is greedy; above it another seed may say something else"""
    max_tokens: int = Field(512, ge=1, le=1_000_000)
    """longest reply, in tokens"""
    seed: int = 0
    """another seed draws other replies and orders"""


class JudgeReply(NamedTuple):
    """What a judge said in the end."""

    reply: Reply[Any]
    raw: str
    attempt: int = 0  # 1 where it was asked twice
    prob: float | None = None

    def finding(self, value: float | None) -> Finding:
        """What a Judgement says of it, `value` being what its words come to."""
        return Finding(self.reply.outcome, value, self.prob, self.raw)

    def by(self, engine: Engine, context: Context, order: int = 0) -> Provenance:
        """Where that Judgement comes from; `order`: the place in which what is judged was shown."""
        return Provenance(engine.identity, context.version, order, self.attempt)


def template(settings: JudgeSettings, beside: str, name: str) -> str:
    """The prompt file, with what tells the facts in its {facts}. RecipeError where there is no such place, and facts are to be told."""
    text = prompts.read(settings.prompt, beside, name)
    if settings.facts and "{facts}" not in text:
        raise RecipeError(f"`facts: true` needs a prompt with {{facts}}; {settings.prompt or name} has none")
    told = prompts.read(None, __file__, "facts.txt") + "\n" if settings.facts else ""
    return text.replace("{facts}", told)


def judge_messages(
    text: str, rows: SampleRows, settings: JudgeSettings, answers: str = "", **words: str
) -> tuple[Message, ...]:
    """The question about the sample's media: `text` with {question}, what is known, and `words`, which cannot close their fences, and
    {answers}, which are fenced already."""
    sample = rows.sample
    known = sample.facts or sample.reference or sample.answer or "nothing"
    words |= {"question": chat.asked_of(sample.prompt), "known": known}
    head, place, tail = text.partition("{answers}")
    text = prompts.fill(head, **words) + (answers if place else "") + prompts.fill(tail, **words)
    return chat.ask_about(sample.prompt, text) if settings.media else (chat.user(text),)


def numbered_answers(answers: Sequence[Candidate | str]) -> str:
    """The answers, numbered and fenced; none can close its fence."""
    texts = [a if isinstance(a, str) else a.text for a in answers]
    return "\n".join(f"Answer {i}:\n<<<\n{prompts.guard(text)}\n>>>" for i, text in enumerate(texts, 1))


async def ask_with_retry(engine: Engine, messages: tuple[Message, ...], settings: JudgeSettings, read: Callable[[str], Reply], form: Form | None = None) -> JudgeReply:  # fmt: skip
    """The reply, read. One that is unparsable or refused is asked for once more, with another seed; what the second one is worth
    stays, and its words. An engine that fails leaves `failed`, at the second try the first reply.

    `form` is what the reply must look like, where the engine can hold it to one."""
    said = await _once(engine, messages, settings, read, form, 0)
    if said.reply.outcome not in LOST:
        return said
    try:
        again = await _once(engine, messages, settings, read, form, 1)
    except NotAsked:  # an engine that only remembers, and a parser that is stricter than it was
        return said
    return said if again.reply.outcome == Outcome.FAILED else again


async def _once(engine: Engine, messages: tuple[Message, ...], settings: JudgeSettings, read: Callable[[str], Reply], form: Form | None, attempt: int) -> JudgeReply:  # fmt: skip
    temperature = max(settings.temperature, AGAIN) if attempt else settings.temperature
    held = form if "Form" in engine.can else None
    asked = Generate(
        messages, 1, temperature, max_tokens=settings.max_tokens, seed=settings.seed ^ attempt << 20, form=held
    )
    result = await engine.ask(asked)
    if isinstance(result, Failure):
        return JudgeReply(Reply(Outcome.FAILED), f"{result.reason}: {result.detail}")
    text = result.answers[0].text
    return JudgeReply(read(text), text, attempt)
