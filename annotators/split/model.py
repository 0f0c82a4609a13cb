"""Splits free text into claims with two model requests (RLAIF-V): list the stated facts, then rewrite each as a question."""

from pydantic import Field

from annotators.split._list import list_items
from schemas import messages, prompts
from schemas.errors import NoVerdict
from schemas.finish import unfinished, with_thought
from schemas.operator import Context
from schemas.operator import OperatorSettings as Base
from schemas.records import Outcome
from schemas.requests import Failure, Generate

VERSION = 3
MODELS = ("model",)
WORDS = 12  # words per fact in a dry run


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
    question: str, answer: str, settings: Settings, context: Context, before: str = ""
) -> list[tuple[str, bool]]:
    """(yes/no question, True) for each fact; [] if the answer states none. `before`: the conversation that the question belongs to.

    NoVerdict if a list cannot be parsed, is truncated, has another number of questions than facts, or the engine fails."""
    facts_prompt, questions_prompt = prompt_texts(settings)
    engine = context.engines[settings.model]

    async def reply(text: str) -> str:
        result = await engine.ask(Generate((messages.user(text),), 1, 0.0, 1.0, settings.max_tokens, 0))
        if isinstance(result, Failure):
            raise NoVerdict(Outcome.FAILED, f"{result.reason}: {result.detail}")
        (answer,) = result.answers
        if cut := unfinished(answer, settings.max_tokens):  # facts beyond its end could not be refuted
            raise NoVerdict(Outcome.UNPARSABLE, f"{cut.reason}: {cut.detail}: {with_thought(answer)}")
        return answer.text

    stated = await reply(before + prompts.fill(facts_prompt, question=question, answer=answer))
    facts = list_items(stated)
    if [f.strip(" .").lower() for f in facts] == ["none"]:
        return []
    asked = await reply(prompts.fill(questions_prompt, facts="\n".join(f"- {f}" for f in facts)))
    questions = list_items(asked)
    if len(questions) != len(facts):
        raise NoVerdict(Outcome.UNPARSABLE, f"{stated}\n{asked}")
    return [(q, True) for q in dict.fromkeys(questions)]


def example(asked: str, settings: Settings, text: str, draw: float) -> str:
    """A simulated reply that `list_items` accepts, for dry runs: facts of WORDS words, or one question per given fact; see `schemas.operator`."""
    _, questions = prompt_texts(settings)
    if given := prompts.words_of(questions, asked):
        return "\n".join(f"- is it so that {fact}" for fact in list_items(given.get("facts", "")))
    words = text.split()
    return "\n".join(f"- {' '.join(words[i * WORDS : (i + 1) * WORDS])}" for i in range(max(1, len(words) // WORDS)))
