"""Splits free text into claims with two model requests (RLAIF-V): list the stated facts, then rewrite each as a question."""

from collections.abc import Callable
from functools import lru_cache, partial

from pydantic import Field

from annotators.judge._ask import JudgeSettings, ask_with_retry
from annotators.judge._parse import ParsedReply
from annotators.split._list import list_items
from schemas import messages, prompts
from schemas.errors import NoVerdict
from schemas.operator import Context
from schemas.operator import OperatorSettings as Base
from schemas.records import Outcome
from schemas.requests import Form

VERSION = 3
EDITION = (
    1  # a list that cannot be read is asked for once more; forms; answers to questions without media in other words
)
MODELS = ("model",)
WORDS = 12  # words per fact in a dry run
ITEM = r"- [^\s-][^\n]*"
FACTS = Form(regex=rf"{ITEM}(?:\n{ITEM})*")


class Settings(Base):
    model: str
    """the recipe's model that splits, by name; it is shown texts only, no media"""
    facts_prompt: str | None = None
    """prompt file for listing facts that replaces the built-in one; with {question} and {answer}"""
    questions_prompt: str | None = None
    """prompt file for rewriting facts as questions that replaces the built-in one; with {facts}"""
    max_tokens: int = Field(512, ge=1, le=1_000_000)
    """maximum length of each list, in tokens"""


def prompt_texts(settings: Settings) -> tuple[str, ...]:
    return (
        prompts.read(settings.facts_prompt, __file__, "facts.txt"),
        prompts.read(settings.questions_prompt, __file__, "questions.txt"),
    )


async def split(
    question: str, answer: str, settings: Settings, context: Context, before: str = "", kind: str = "image"
) -> list[tuple[str, bool]]:
    """(yes/no question, True) for each fact; [] if the answer states none. `before`: the conversation that the question belongs to; `kind`:
    of the sample.

    NoVerdict if a list cannot be parsed, is truncated, or has another number of questions than facts, twice, or the engine fails."""
    facts_prompt, questions_prompt = prompt_texts(settings)
    facts_prompt = prompts.for_kind(facts_prompt, kind, settings.facts_prompt)
    asked = before + prompts.fill(facts_prompt, question=question, answer=answer)
    facts = await _listed(asked, list_items, FACTS, settings, context)
    if [f.strip(" .").lower() for f in facts] == ["none"]:
        return []
    asked = prompts.fill(questions_prompt, facts="\n".join(f"- {f}" for f in facts))
    try:
        questions = await _listed(
            asked, partial(_questions, count=len(facts)), _one_each(len(facts)), settings, context
        )
    except NoVerdict as lost:
        if lost.outcome != Outcome.UNPARSABLE:
            raise
        raise NoVerdict(lost.outcome, "\n".join([*(f"- {f}" for f in facts), lost.raw])) from None
    return [(q, True) for q in dict.fromkeys(questions)]


async def _listed(
    asked: str, read: Callable[[str], ParsedReply[list[str]]], form: Form, settings: Settings, context: Context
) -> list[str]:
    """The items of the reply to `asked`. NoVerdict without any."""
    engine, sampling = (
        context.engines[settings.model],
        JudgeSettings(model=settings.model, max_tokens=settings.max_tokens),
    )
    reply = await ask_with_retry(engine, (messages.user(asked),), sampling, read, form)
    if reply.reply.value is None:
        raise NoVerdict(reply.reply.outcome, reply.raw)
    return reply.reply.value


def _questions(text: str, count: int) -> ParsedReply[list[str]]:
    """The items of a list; unparsable if they are not `count`."""
    reply = list_items(text)
    return reply if reply.value is None or len(reply.value) == count else ParsedReply(Outcome.UNPARSABLE)


@lru_cache(256)
def _one_each(count: int) -> Form:
    question = r"- [^\s?？-][^\n?？]*[?？]"
    return Form(regex=rf"{question}(?:\n{question}){{{count - 1},{count - 1}}}")


def example(asked: str, settings: Settings, text: str, draw: float) -> str:
    """A simulated reply that `list_items` accepts, for dry runs: facts of WORDS words, or one question per given fact; see `schemas.operator`."""
    _, questions = prompt_texts(settings)
    if given := prompts.words_of(questions, asked):
        return "\n".join(f"- is it so that {fact}" for fact in list_items(given.get("facts", "")).value or ())
    words = text.split()
    return "\n".join(f"- {' '.join(words[i * WORDS : (i + 1) * WORDS])}" for i in range(max(1, len(words) // WORDS)))
