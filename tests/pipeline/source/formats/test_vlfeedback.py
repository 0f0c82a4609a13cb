import json

import pytest

from pipeline.source.formats import vlfeedback
from pipeline.source.formats.draft import Answer, DraftJudgement
from schemas.records import Outcome
from tests.support.dialects import BAD, asked, refused, without

SLIP = {"Rating": "4", "Rationale": "Fine."}
DONE = {
    "annotations": {"Helpfulness": SLIP, "Visual Faithfulness": SLIP | {"Rating": "N/A"}},
    "model": "m1",
    "response": "A cat.",
}
OTHER = {
    "annotations": {"Helpfulness": SLIP | {"Rating": "2"}, "Visual Faithfulness": SLIP},
    "model": "m2",
    "response": "A dog.",
}
ROW = {"id": "1", "prompt": "What?", "models": ["m1", "m2"], "completions": [DONE, OTHER], "img_path": "a.jpg"}


def rated(**slip) -> dict:
    return ROW | {"completions": [DONE | {"annotations": {"Helpfulness": SLIP | slip}}]}


def test_answers_are_rated_and_not_paired():
    draft = vlfeedback.read(ROW)
    assert draft.prompt == asked(("image", "a.jpg"), "What?")
    assert draft.answers == (Answer("A cat.", "m1"), Answer("A dog.", "m2"))
    raw = json.dumps(SLIP)
    assert draft.said == (
        DraftJudgement((0,), "Helpfulness", 4.0, "vlfeedback", raw),
        DraftJudgement(
            (0,), "Visual Faithfulness", None, "vlfeedback", json.dumps(SLIP | {"Rating": "N/A"}), Outcome.UNPARSABLE
        ),
        DraftJudgement((1,), "Helpfulness", 2.0, "vlfeedback", json.dumps(SLIP | {"Rating": "2"})),
        DraftJudgement((1,), "Visual Faithfulness", 4.0, "vlfeedback", raw),
    )
    assert (draft.pairs, draft.id) == ((), "1")


def test_an_object_of_lists_is_the_same_at_any_depth():
    flat = {key: [DONE[key], OTHER[key]] for key in DONE}
    assert vlfeedback.read(ROW | {"completions": flat}) == vlfeedback.read(ROW)
    axes = {
        axis: {key: [c["annotations"][axis][key] for c in (DONE, OTHER)] for key in SLIP}
        for axis in DONE["annotations"]
    }
    assert vlfeedback.read(ROW | {"completions": flat | {"annotations": axes}}) == vlfeedback.read(ROW)


@pytest.mark.parametrize("rating", [4, 4.0, "4", "4.0", "4/5", "4.0 / 5"])
def test_a_rating_is_a_number_or_its_text(rating):
    """MMInstruction/VLFeedback writes texts, sets that were made with its prompts write numbers."""
    (said,) = vlfeedback.read(rated(Rating=rating)).said
    assert (said.value, said.outcome, json.loads(said.raw)["Rating"]) == (4.0, Outcome.VERDICT, str(rating))


def test_a_tag_is_the_place_of_the_image():
    assert vlfeedback.read(ROW | {"prompt": "<image>\nWhat?"}).prompt == asked(("image", "a.jpg"), "What?")
    refused(vlfeedback, ROW | {"prompt": "<image><image>?"}, BAD, "2 places for image files, but the row has 1")


REFUSED = {
    "no completions": (without(ROW, "completions"), BAD, "completions are missing"),
    "empty completions": (ROW | {"completions": []}, BAD, "completions are empty"),
    "a completion that is a text": (ROW | {"completions": ["A cat."]}, BAD, "completions are a list"),
    "lists of different lengths": (
        ROW | {"completions": {"annotations": [{}], "model": ["a", "b"], "response": ["x"]}}, BAD, "annotations 1, model 2, response 1",
    ),
    "an object of texts": (ROW | {"completions": {"model": "a"}}, BAD, "model a str"),
    "a rating that is a boolean": (rated(Rating=True), BAD, "completions[0].annotations.Helpfulness.Rating is a bool"),
    "a rating that is missing": (rated(Rating=None), BAD, "Helpfulness.Rating is missing"),
    "a rationale that is a list": (rated(Rationale=[]), BAD, "Helpfulness.Rationale is a list"),
    "annotations that are a list": (ROW | {"completions": [DONE | {"annotations": []}]}, BAD, "annotations are a list"),
    "an axis that is a text": (ROW | {"completions": [DONE | {"annotations": {"Helpfulness": "4"}}]}, BAD, "Helpfulness is a str"),
    "a response that is missing": (ROW | {"completions": [without(DONE, "response")]}, BAD, "completions[0].response is missing"),
    "a model that is a list": (ROW | {"completions": [DONE | {"model": []}]}, BAD, "completions[0].model is a list"),
    "a prompt that is missing": (without(ROW, "prompt"), BAD, "prompt is missing"),
    "a path that is a number": (ROW | {"img_path": 5}, BAD, "img_path is an int"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_bad_row_is_refused_in_words(name):
    refused(vlfeedback, *REFUSED[name])


@pytest.mark.parametrize(
    "rating",
    ["nan", "inf", "-Infinity", "", "four", "8/10", "4/6", "6/5", "0/5", "5.5/5", "4/5 or 5/5", float("nan"), 10**400],
)
def test_a_rating_that_is_no_number_is_kept_without_a_value(rating):
    (said,) = vlfeedback.read(rated(Rating=rating)).said
    assert (said.value, said.outcome, json.loads(said.raw)["Rating"]) == (None, Outcome.UNPARSABLE, str(rating))
