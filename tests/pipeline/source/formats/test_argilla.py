"""The layouts are those of argilla/ultrafeedback-binarized-preferences, its -cleaned form, distilabel-capybara-dpo-7k-binarized,
dpo-mix-7k and distilabel-intel-orca-dpo-pairs on the Hub (their cards)."""

import pytest

from pipeline.source.formats import argilla
from pipeline.source.formats.draft import TIED, Answer, DraftJudgement, Turn
from tests.support.dialects import BAD, EMPTY, EQUAL, asked, refused, texts, without


def talk(*words: str) -> list[dict]:
    return [{"role": ("user", "assistant")[i % 2], "content": said} for i, said in enumerate(words)]


PLAIN = {
    "source": "evol_instruct", "instruction": "Why?", "chosen_response": "Because.", "rejected_response": "So.", "chosen_avg_rating": 4.5,
    "rejected_avg_rating": 3.0, "chosen_model": "gpt-4",
}  # fmt: skip
CLEANED = {
    "source": "sharegpt", "prompt": "Why?", "chosen": talk("Why?", "Because."), "chosen-rating": 5.0, "chosen-model": "gpt-4",
    "rejected": talk("Why?", "So."), "rejected-rating": 2.0, "rejected-model": "llama",
}  # fmt: skip
CAPYBARA = {
    "source": "Airoboros", "prompt": "Why?", "chosen": talk("Hi", "Hello.", "Why?", "Because."), "rejected": talk("Hi", "Hello.", "Why?", "So."),
    "rating_chosen": 5, "rating_rejected": 4, "chosen_model": "a", "rejected_model": "b",
}  # fmt: skip
MIX = {
    "dataset": "argilla/x",
    "chosen": talk("Why?", "Because."),
    "rejected": talk("Why?", "So."),
    "chosen_rating": 5.0,
    "rejected_rating": 4.5,
}
ORCA = {
    "system": "", "input": "Why?", "chosen": "Because.", "rejected": "So.", "generations": ["So.", "Because."], "rating": [8.0, 9.0],
    "order": ["chosen", "rejected"], "labelling_model": "gpt-4", "status": "swapped", "chosen_score": 9.0, "in_gsm8k_train": False,
}  # fmt: skip


@pytest.mark.parametrize(
    ("row", "ratings", "models", "judge"),
    [
        (PLAIN, (4.5, 3.0), ("gpt-4", None), "argilla"),
        (CLEANED, (5.0, 2.0), ("gpt-4", "llama"), "argilla"),
        (CAPYBARA, (5.0, 4.0), ("a", "b"), "argilla"),
        (MIX, (5.0, 4.5), (None, None), "argilla"),
        (ORCA, (9.0, 8.0), (None, None), "gpt-4"),  # as `generations` orders them
    ],
)
def test_all_layouts_say_the_same(row, ratings, models, judge):
    draft = argilla.read(row)
    assert draft.prompt[-1:] == asked("Why?")
    assert draft.answers == (Answer("Because.", models[0], "chosen"), Answer("So.", models[1], "rejected"))
    assert draft.said == tuple(DraftJudgement((i,), "rating", value, judge) for i, value in enumerate(ratings))
    assert draft.pairs[0].known == {
        "margin": ratings[0] - ratings[1], "reward_chosen": ratings[0], "reward_rejected": ratings[1],
    }  # fmt: skip


def test_the_source_is_kept_and_whole_conversations_share_their_prompt():
    assert (argilla.read(PLAIN).known, argilla.read(MIX).known) == (
        {"source": "evol_instruct"},
        {"source": "argilla/x"},
    )
    assert argilla.read(CAPYBARA).prompt == (
        Turn("user", (("text", "Hi"),)), Turn("assistant", (("text", "Hello."),)), Turn("user", (("text", "Why?"),)),
    )  # fmt: skip


def test_a_tie_is_rated_and_makes_no_pair():
    draft = argilla.read(ORCA | {"status": "tie", "rating": [8.0, 8.0]})
    assert ([s.value for s in draft.said], draft.pairs, texts(draft)) == (
        [8.0, 8.0],
        (),
        [("Because.", None), ("So.", None)],
    )
    assert draft.no_pair == TIED


def test_a_row_may_have_no_ratings():
    assert argilla.read(without(PLAIN, "chosen_avg_rating", "rejected_avg_rating")).said == ()


REFUSED = {
    "half a rating": (PLAIN | {"rejected_avg_rating": None}, BAD, "rejected_avg_rating is missing"),
    "a rating in words": (CLEANED | {"chosen-rating": "good"}, BAD, "chosen-rating is a str"),
    "ratings of other generations": (ORCA | {"generations": ["Because."]}, BAD, "1 generations, but 2 ratings"),
    "a rating of one answer alone": (ORCA | {"generations": ["Hm.", "Because."]}, BAD, "the rejected answer's rating is missing"),
    "no instruction": (without(PLAIN, "instruction"), BAD, "prompt is missing"),
    "no answer": (without(CLEANED, "chosen"), BAD, "chosen is missing"),
    "conversations that differ": (CAPYBARA | {"rejected": talk("Hi", "Hm.", "Why?", "So.")}, BAD, "differ before their last message"),
    "an empty answer": (PLAIN | {"chosen_response": " "}, EMPTY, "chosen is empty"),
    "equal answers": (PLAIN | {"chosen_response": "So."}, EQUAL, "the same text"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_bad_row_is_refused_in_words(name):
    refused(argilla, *REFUSED[name])
