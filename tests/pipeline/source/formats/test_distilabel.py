import base64

import pytest

from pipeline.source.formats import distilabel
from pipeline.source.formats.draft import Answer, DraftJudgement, DraftPair
from schemas.records import Outcome
from tests.support.dialects import BAD, EMPTY, EQUAL, NAN, asked, refused, without

ROW = {
    "instruction": "What?", "generations": ["A cat.", "A dog."], "generation_models": ["m1", "m2"], "model_name": "judge",
    "ratings": [5, 2], "rationales": ["Right.", "Wrong."],
}  # fmt: skip


def talk(answer: str) -> list[dict]:
    return [{"role": "user", "content": "What?"}, {"role": "assistant", "content": answer}]


PAIR = {
    "prompt": "What?", "prompt_id": "x", "chosen": talk("A cat."), "rejected": talk("A dog."), "chosen_model": "m1",
    "rejected_model": "m2", "chosen_rating": 5.0, "rejected_rating": 2.0,
}  # fmt: skip
JUDGED = (
    DraftJudgement((0,), "rating", 5.0, "judge", "Right."),
    DraftJudgement((1,), "rating", 2.0, "judge", "Wrong."),
)


def test_generations_are_rated():
    draft = distilabel.read(ROW)
    assert (draft.prompt, draft.answers) == (asked("What?"), (Answer("A cat.", "m1"), Answer("A dog.", "m2")))
    assert (draft.said, draft.pairs) == (JUDGED, ())


def test_what_failed_stays_in_its_place_without_a_value():
    draft = distilabel.read(ROW | {"generations": ["A cat.", None], "ratings": [None, None], "rationales": ["?", None]})
    assert draft.answers[1] == Answer("", "m2")
    assert draft.said[0] == DraftJudgement((0,), "rating", None, "judge", "?", Outcome.UNPARSABLE)


def test_the_pair_of_the_dpo_step():
    draft = distilabel.read(PAIR)
    assert draft.answers == (Answer("A cat.", "m1", "chosen"), Answer("A dog.", "m2", "rejected"))
    assert draft.said == (
        DraftJudgement((0,), "rating", 5.0, "distilabel"),
        DraftJudgement((1,), "rating", 2.0, "distilabel"),
    )
    assert draft.pairs[0].known == {"margin": 3.0, "reward_chosen": 5.0, "reward_rejected": 2.0}


def test_the_pair_is_found_among_the_generations():
    three = {
        "generations": ["A bird.", "A dog.", "A cat."],
        "generation_models": ["m0", "m2", "m1"],
        "ratings": [1, 2, 5],
    }
    draft = distilabel.read(PAIR | ROW | three | {"rationales": None})
    assert [(a.text, a.role) for a in draft.answers] == [
        ("A bird.", None),
        ("A dog.", "rejected"),
        ("A cat.", "chosen"),
    ]
    assert draft.pairs == (DraftPair(2, 1, None, {"margin": 3.0, "reward_chosen": 5.0, "reward_rejected": 2.0}),)
    assert [(s.items, s.value) for s in draft.said] == [((0,), 1.0), ((1,), 2.0), ((2,), 5.0)]
    strange = distilabel.read(PAIR | {"generations": ["A bird.", "A cat."], "generation_models": ["m0", "m1"]})
    assert (strange.pairs[0].chosen, strange.pairs[0].rejected, len(strange.answers)) == (1, 2, 3)
    assert [s.items for s in strange.said] == [(1,), (2,)]


def test_messages_and_images():
    assert distilabel.read(ROW | {"image": "a.jpg"}).prompt == asked(("image", "a.jpg"), "What?")
    messages = distilabel.read(without(ROW, "instruction") | {"messages": [{"role": "user", "content": "Hm?"}]})
    assert messages.prompt == asked("Hm?")
    coded = base64.b64encode(b"bytes").decode()
    assert distilabel.read(ROW | {"image": coded, "image_type": "base64"}).prompt == asked(("image", b"bytes"), "What?")
    assert distilabel.read(ROW | {"image": f"data:image/png;base64,{coded}"}).prompt == asked(
        ("image", b"bytes"), "What?"
    )


REFUSED = {
    "nothing to say": ({"instruction": "What?"}, BAD, "generations are missing"),
    "no instruction": (without(ROW, "instruction"), BAD, "instruction is missing"),
    "generations that are a text": (ROW | {"generations": "A cat."}, BAD, "generations are a str"),
    "a generation that is a number": (ROW | {"generations": [1, "x"]}, BAD, "generations[0] is an int"),
    "a model too few": (ROW | {"generation_models": ["m1"]}, BAD, "2 generations, but 1 generation_models"),
    "a rating too few": (ROW | {"ratings": [5]}, BAD, "2 generations, 1 ratings and 2 rationales"),
    "a rationale too many": (ROW | {"rationales": ["a", "b", "c"]}, BAD, "2 generations, 2 ratings and 3 rationales"),
    "a rating that is a word": (ROW | {"ratings": ["high", 2]}, BAD, "ratings[0] is a str"),
    "a rating that is no number": (ROW | {"ratings": [NAN, 2]}, BAD, "ratings[0] is nan"),
    "ratings that are a number": (ROW | {"ratings": 5}, BAD, "2 generations, an int ratings"),
    "a rationale that is a list": (ROW | {"rationales": [[], "x"]}, BAD, "rationales[0] is a list"),
    "a model that is an object": (ROW | {"generation_models": [{}, "x"]}, BAD, "generation_models[0] is a dict"),
    "one rating of a pair": (without(PAIR, "chosen_rating"), BAD, "chosen_rating is missing, but"),
    "no rejected": (without(PAIR, "rejected"), BAD, "rejected is missing"),
    "an empty answer": (PAIR | {"rejected": talk("")}, EMPTY, "rejected is empty"),
    "the tie it makes a pair of": (PAIR | {"rejected": talk("A cat.")}, EQUAL, "same text"),
    "an image that is no base64": (ROW | {"image": "a.jpg!", "image_type": "base64"}, BAD, "image is not valid base64"),
    "an image of bytes as base64": (ROW | {"image": b"x", "image_type": "base64"}, BAD, "image is a bytes"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_bad_row_is_refused_in_words(name):
    refused(distilabel, *REFUSED[name])
