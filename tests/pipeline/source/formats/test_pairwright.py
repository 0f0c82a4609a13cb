import pytest

from pipeline.source.formats import pairwright
from pipeline.source.formats.draft import Answer, Draft, DraftPair
from schemas.records import Span
from tests.support.dialects import BAD, EMPTY, EQUAL, NAN, asked, refused, without
from tests.support.preference_sets import part, says

SPAN = {"start": 0, "end": 3, "weight": 0.5, "label": "object", "severity": None, "correction": "A dog"}
ROW = {
    "prompt": says("user", part("image"), part("text", "What?")), "chosen": says("assistant", part("text", "A cat.")),
    "rejected": says("assistant", part("text", "A dog.")), "images": [{"bytes": b"x", "path": None}], "rejected_images": None,
    "id": "p1", "sample": "s1", "media": ["aa"], "pair_kind": "text", "margin": 2.0, "reward_chosen": 1.0, "reward_rejected": -1.0,
    "soft_label": 0.9, "desirable": None, "rank": 0, "needs_media": True, "rejected_spans": [SPAN], "critique_rejected": "no dog",
    "chosen_id": "c1", "rejected_id": "c2", "generator_chosen": "m1", "generator_rejected": None, "judgements": ["j1"],
    "facts": '{"yes":[]}', "answer": "cat", "source": "zoo", "licence": "CC0", "split": None, "seed": 2**40, "step": "pair",
}  # fmt: skip


def test_all_that_is_known_comes_back():
    assert pairwright.read(ROW) == Draft(
        asked(("image", {"bytes": b"x", "path": None}), "What?"),
        (Answer("A cat.", "m1", "chosen"), Answer("A dog.", None, "rejected")), (),
        (DraftPair(0, 1, None, {
            "margin": 2.0, "reward_chosen": 1.0, "reward_rejected": -1.0, "soft_label": 0.9, "rank": 0, "seed": 2**40,
            "critique_rejected": "no dog", "rejected_spans": (Span(0, 3, 0.5, "object", None, "A dog"),), "needs_media": True,
        }),),
        {"answer": "cat", "source": "zoo", "licence": "CC0", "facts": '{"yes":[]}'}, "p1",
    )  # fmt: skip


def test_media_of_the_rejected_side_and_a_single_answer():
    other = {"bytes": b"y", "path": None}
    assert pairwright.read(ROW | {"rejected_images": [other]}).pairs[0].rejected_media == (other,)
    assert (
        pairwright.read(ROW | {"rejected_media": [], "rejected_images": []}).pairs[0].rejected_media == ()
    )  # shown nothing
    assert pairwright.read(ROW | {"ranked_images": [b"x", b"y"]}).pairs[0].ranked == (("image", b"x"), ("image", b"y"))
    alone = pairwright.read(ROW | {"rejected": None, "desirable": False, "rejected_spans": None})
    assert (alone.answers, alone.pairs[0].rejected) == ((Answer("A cat.", "m1"),), None)
    assert alone.pairs[0].known["label"] is False


REFUSED = {
    "no prompt": (without(ROW, "prompt"), BAD, "prompt is missing"),
    "no chosen": (without(ROW, "chosen"), BAD, "chosen is missing"),
    "no answer at all": (ROW | {"chosen": [], "rejected": None}, BAD, "is from 'user'"),
    "an empty answer": (ROW | {"chosen": says("assistant", part("text", "")), "rejected": None}, EMPTY, "is empty"),
    "equal answers": (ROW | {"rejected": ROW["chosen"]}, EQUAL, "same text"),
    "an image too many": (ROW | {"images": ROW["images"] * 2}, BAD, "1 place for image files, but the row has 2"),
    "a rejected image too many": (ROW | {"rejected_images": ROW["images"] * 2}, BAD, "has 1 image file, but the rejected side has 2"),
    "a margin that is a text": (ROW | {"margin": "2"}, BAD, "margin is a str"),
    "a confidence that is no number": (ROW | {"confidence": NAN}, BAD, "confidence is nan"),
    "a rank with a point": (ROW | {"rank": 0.5}, BAD, "rank is a float"),
    "a rank of many bits": (ROW | {"rank": 2**31}, BAD, "rank is an int"),
    "a seed of many bits": (ROW | {"seed": 2**63}, BAD, "seed is an int"),
    "spans that are a text": (ROW | {"rejected_spans": "x"}, BAD, "rejected_spans are a str"),
    "a span without an end": (ROW | {"rejected_spans": [without(SPAN, "end")]}, BAD, "rejected_spans[0] has no start or no end"),
    "a span that starts at a word": (ROW | {"rejected_spans": [SPAN | {"start": "A"}]}, BAD, "rejected_spans[0].start is a str"),
    "a weight that is a text": (ROW | {"rejected_spans": [SPAN | {"weight": "1"}]}, BAD, "rejected_spans[0].weight is a str"),
    "facts that are no JSON": (ROW | {"facts": "{"}, BAD, "facts are not a JSON object"),
    "facts that are a list": (ROW | {"facts": "[]"}, BAD, "facts are not a JSON object"),
    "needs_media that is a number": (ROW | {"needs_media": 1}, BAD, "needs_media is an int"),
    "a generator that is a list": (ROW | {"generator_chosen": []}, BAD, "generator_chosen is a list"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_bad_row_is_refused_in_words(name):
    refused(pairwright, *REFUSED[name])
