"""The layout is that of mlabonne/orpo-dpo-mix-40k on the Hub (its card: source, chosen, rejected, prompt, question)."""

import pytest

from pipeline.source.formats import orpo_mix
from pipeline.source.formats.draft import Turn
from tests.support.dialects import BAD, EMPTY, EQUAL, asked, refused, texts, without


def talk(*words: str) -> list[dict]:
    return [{"role": ("user", "assistant")[i % 2], "content": said} for i, said in enumerate(words)]


ROW = {
    "source": "Airoboros",
    "chosen": talk("One?", "x"),
    "rejected": talk("One?", "y"),
    "prompt": "One?",
    "question": "One?",
}
LONG = ROW | {"chosen": talk("One?", "a", "Two?", "x"), "rejected": talk("One?", "a", "Two?", "y")}


def test_the_prompt_is_the_question():
    draft = orpo_mix.read(ROW)
    assert (draft.prompt, draft.known) == (asked("One?"), {"source": "Airoboros"})
    assert texts(draft) == [("x", "chosen"), ("y", "rejected")]


def test_the_beginning_that_both_conversations_share_is_the_prompt():
    draft = orpo_mix.read(LONG)
    expected = (
        Turn("user", (("text", "One?"),)),
        Turn("assistant", (("text", "a"),)),
        Turn("user", (("text", "Two?"),)),
    )
    assert draft.prompt == expected  # `prompt` repeats the first question alone
    assert orpo_mix.read(LONG | {"prompt": "Two?"}).prompt == expected
    assert texts(draft) == [("x", "chosen"), ("y", "rejected")]


def test_a_system_message_belongs_to_the_prompt():
    first = [{"role": "system", "content": "Be true."}]
    draft = orpo_mix.read(ROW | {"chosen": first + ROW["chosen"], "rejected": first + ROW["rejected"]})
    assert draft.prompt == (Turn("system", (("text", "Be true."),)), *asked("One?"))


REFUSED = {
    "another first question": (LONG | {"rejected": talk("Which?", "a", "Two?", "y")}, BAD, "differ before their last message"),
    "another answer before": (LONG | {"rejected": talk("One?", "b", "Two?", "y")}, BAD, "differ before their last message"),
    "a prompt that is none of them": (LONG | {"prompt": "Three?"}, BAD, "prompt is not the beginning"),
    "no chosen": (without(ROW, "chosen"), BAD, "chosen is missing"),
    "an empty conversation": (ROW | {"chosen": []}, BAD, "chosen has no messages"),
    "an end with the user": (ROW | {"chosen": talk("One?")}, BAD, "differ before"),
    "an empty answer": (ROW | {"chosen": talk("One?", " ")}, EMPTY, "chosen is empty"),
    "equal answers": (ROW | {"rejected": ROW["chosen"]}, EQUAL, "the same text"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_bad_row_is_refused_in_words(name):
    refused(orpo_mix, *REFUSED[name])
