"""The layout is that of Anthropic/hh-rlhf on the Hub: chosen and rejected, whole transcripts."""

import pytest

from pipeline.source.formats import hh_rlhf
from pipeline.source.formats.draft import Turn
from tests.support.dialects import BAD, EMPTY, EQUAL, asked, refused, texts, without

ASKED = "\n\nHuman: Hi\n\nAssistant: Hello.\n\nStill here.\n\nHuman: Why?\n\nAssistant:"
ROW = {"chosen": f"{ASKED} Because.", "rejected": f"{ASKED} So."}


def test_the_shared_turns_are_the_prompt():
    draft = hh_rlhf.read(ROW)
    assert draft.prompt == (
        Turn("user", (("text", "Hi"),)), Turn("assistant", (("text", "Hello.\n\nStill here."),)), Turn("user", (("text", "Why?"),)),
    )  # fmt: skip
    assert texts(draft) == [("Because.", "chosen"), ("So.", "rejected")]


def test_one_turn():
    draft = hh_rlhf.read({"chosen": "\n\nHuman: Why?\n\nAssistant: x", "rejected": "Human: Why?\n\nAssistant: y"})
    assert (draft.prompt, texts(draft)) == (asked("Why?"), [("x", "chosen"), ("y", "rejected")])


REFUSED = {
    "another question": (ROW | {"rejected": ROW["rejected"].replace("Why?", "How?")}, BAD, "differ before their last message"),
    "another length": (ROW | {"rejected": "\n\nHuman: Hi\n\nAssistant: Hm."}, BAD, "differ before their last message"),
    "an end with the Human": (ROW | {"chosen": "\n\nHuman: Hi"}, BAD, "chosen is not a transcript"),
    "a text without speakers": (ROW | {"chosen": "Because."}, BAD, "chosen is not a transcript"),
    "no rejected": (without(ROW, "rejected"), BAD, "rejected is missing"),
    "an empty answer": (ROW | {"chosen": ASKED}, EMPTY, "chosen is empty"),
    "equal answers": (ROW | {"rejected": ROW["chosen"]}, EQUAL, "the same text"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_bad_row_is_refused_in_words(name):
    refused(hh_rlhf, *REFUSED[name])


@pytest.mark.parametrize("more", [{"chosen": "Because."}, {"prompt": "Why?"}, {"rejected": None}])
def test_texts_and_rows_with_a_prompt_are_trls(more):
    assert hh_rlhf.fits(ROW | more) is None
