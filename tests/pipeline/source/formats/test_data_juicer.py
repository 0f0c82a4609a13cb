"""The layouts are those of modelscope/data-juicer: its human_preference_annotation_mapper (prompt, answer1, answer2, chosen, rejected), and
its multimodal texts as tools/fmt_conversion/multimodal writes them."""

import pytest

from pipeline.source.formats import data_juicer
from pipeline.source.formats.draft import DraftJudgement, DraftPair, Turn
from tests.support.dialects import BAD, EMPTY, EQUAL, asked, refused, texts, without

ROW = {"prompt": "Which?", "answer1": "A dog.", "answer2": "A cat.", "chosen": "A cat.", "rejected": "A dog."}
TALK = {
    "id": "1", "images": ["a.jpg"],
    "text": "<__dj__image>\n[[human]]: What is it?\n[[gpt]]: A cat.\n[[human]]: Its colour?\n[[gpt]]: Grey. <|__dj__eoc|>",
}  # fmt: skip


@pytest.mark.parametrize("names", [{}, {"chosen": "answer2", "rejected": "answer1"}])
def test_the_choice_is_an_answer_by_its_text_or_by_its_column(names):
    draft = data_juicer.read(ROW | names)
    assert draft.prompt == asked("Which?")
    assert texts(draft) == [("A dog.", "rejected"), ("A cat.", "chosen")]
    assert draft.said == (DraftJudgement((0, 1), "preference", -1.0, "data_juicer"),)
    assert draft.pairs == (DraftPair(1, 0),)


def test_its_tokens_are_the_places_of_media_and_no_part_of_a_text():
    row = ROW | {
        "prompt": "<__dj__image>\nWhich? <|__dj__eoc|>",
        "images": ["a.jpg"],
        "answer2": "A cat. <|__dj__eoc|>",
    }
    draft = data_juicer.read(row)
    assert (draft.prompt, texts(draft)[1]) == (asked(("image", "a.jpg"), "Which?"), ("A cat.", "chosen"))


def test_a_conversation_is_a_sample_with_its_last_answer_as_reference():
    draft = data_juicer.read(TALK)
    assert draft.prompt == (
        Turn("user", (("image", "a.jpg"), ("text", "What is it?"))), Turn("assistant", (("text", "A cat."),)),
        Turn("user", (("text", "Its colour?"),)),
    )  # fmt: skip
    assert (draft.answers, draft.known, draft.id) == ((), {"reference": "Grey."}, "1")


def test_video_chatgpt_has_other_speakers_and_a_question_may_stand_alone():
    draft = data_juicer.read({"text": "<__dj__video>[[q]]: What happens? <|__dj__eoc|>", "videos": ["v.mp4"]})
    assert (draft.prompt, draft.known) == (asked(("video", "v.mp4"), "What happens?"), {})


REFUSED = {
    "no choice": (ROW | {"chosen": "Unanswered", "rejected": "Unanswered"}, BAD, "chosen and rejected are not answer1 and answer2"),
    "the same choice twice": (ROW | {"rejected": "A cat."}, BAD, "are not answer1 and answer2"),
    "no answer": (without(ROW, "answer2"), BAD, "answer2 is missing"),
    "an empty answer": (ROW | {"answer1": "", "rejected": ""}, EMPTY, "answer1 is empty"),
    "equal answers": (ROW | {"answer1": "A cat.", "rejected": "A cat."}, EQUAL, "the same text"),
    "a picture in an answer": (ROW | {"answer1": "<__dj__image>"}, BAD, "answer1 contains media"),
    "a caption": ({"text": "<__dj__image> A cat. <|__dj__eoc|>", "images": ["a.jpg"]}, BAD, "asks nothing"),
    "another speaker": ({"text": "[[human]]: a\n[[robot]]: b"}, BAD, "the unknown speaker [[robot]]"),
    "a picture too few": (TALK | {"images": []}, BAD, "1 place for image files"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_bad_row_is_refused_in_words(name):
    refused(data_juicer, *REFUSED[name])


def test_a_text_without_its_tokens_is_not_of_this_format():
    assert data_juicer.fits({"text": "A text.", "images": ["a.jpg"]}) is None
