"""Splits free text into claims by asking a model twice (RLAIF-V): which facts are stated, then each fact as a question."""

from pydantic import Field

from schemas import messages, prompts
from schemas.errors import NoVerdict
from schemas.operator import Context
from schemas.operator import OperatorSettings as Base
from schemas.records import Outcome
from schemas.requests import Failure, Generate

VERSION = 2
MODELS = ("model",)
WORDS = 12  # of a fact, about


class Settings(Base):
    model: str
    """name of the recipe's model that splits (text is enough: it sees no media)"""
    facts_prompt: str | None = None
    """file with {question} and {answer}, instead of the one beside this module"""
    questions_prompt: str | None = None
    """file with {facts}, instead of the one beside this module"""
    max_tokens: int = Field(512, ge=1, le=1_000_000)
    """longest list"""


def prompt_texts(settings: Settings) -> tuple[str, ...]:
    return (
        prompts.read(settings.facts_prompt, __file__, "facts.txt"),
        prompts.read(settings.questions_prompt, __file__, "questions.txt"),
    )


async def split(question: str, answer: str, settings: Settings, context: Context) -> list[tuple[str, bool]]:
    """(yes/no question, True) for each fact; [] when the answer states none. NoVerdict when the model's lists cannot be read."""
    facts_prompt, questions_prompt = prompt_texts(settings)
    engine = context.engines[settings.model]

    async def reply(text: str) -> str:
        result = await engine.ask(Generate((messages.user(text),), 1, 0.0, 1.0, settings.max_tokens, 0))
        if isinstance(result, Failure):
            raise NoVerdict(Outcome.FAILED, f"{result.reason}: {result.detail}")
        said = result.answers[0]
        if said.finish == "length":  # facts that were cut off could not be refuted
            raise NoVerdict(Outcome.UNPARSABLE, said.text)
        return said.text

    stated = await reply(prompts.fill(facts_prompt, question=question, answer=answer))
    facts = listed(stated)
    if [f.strip(" .").lower() for f in facts] == ["none"]:
        return []
    asked = await reply(prompts.fill(questions_prompt, facts="\n".join(f"- {f}" for f in facts)))
    questions = listed(asked)
    if len(questions) != len(facts):
        raise NoVerdict(Outcome.UNPARSABLE, f"{stated}\n{asked}")
    return [(q, True) for q in dict.fromkeys(questions)]


def example(asked: str, settings: Settings, text: str, draw: float) -> str:
    """A reply that `listed` reads: facts of some words each, or as many questions as facts are given; see `schemas.operator`."""
    _, questions = prompt_texts(settings)
    if given := prompts.words_of(questions, asked):
        return "\n".join(f"- is it so that {fact}" for fact in listed(given.get("facts", "")))
    words = text.split()
    return "\n".join(f"- {' '.join(words[i * WORDS : (i + 1) * WORDS])}" for i in range(max(1, len(words) // WORDS)))


def listed(text: str) -> list[str]:
    """The items of a list written with "- ", "* " or "1. " marks. NoVerdict when there is none."""
    items = []
    for line in text.splitlines():
        line = line.strip()
        mark, _, rest = line.partition(" ")
        if rest.strip() and (mark in "-*•" or mark.rstrip(".)").isdigit()):
            items.append(rest.strip())
    if not items:
        raise NoVerdict(Outcome.UNPARSABLE, text)
    return items
