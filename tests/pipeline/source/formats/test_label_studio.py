import pytest

from pipeline.source.formats import label_studio
from pipeline.source.formats.draft import DraftPair
from schemas.records import Outcome
from tests.support.dialects import BAD, EMPTY, NAN, asked, refused, texts, without

DATA = {"prompt": "What?", "answer1": "A dog.", "answer2": "A cat.", "image": "/data/local-files/?d=pets/a%20b.jpg"}


def result(kind: str, value: dict, name: str = "comparison", to: str = "comparison") -> dict:
    return {"id": "x", "type": kind, "from_name": name, "to_name": to, "origin": "manual", "value": value}


def pairwise(side) -> dict:
    return result("pairwise", {"selected": side})


def choice(*words: str, to: str = "comparison") -> dict:
    return result("choices", {"choices": list(words)}, "verdict", to)


def slip(*results, who=3, **more) -> dict:
    return {"id": 1, "completed_by": who, "result": list(results), "was_cancelled": False} | more


def task(*slips, **data) -> dict:
    return {"id": 9, "data": DATA | data, "annotations": list(slips)}


def said(draft) -> list[tuple]:
    return [(s.items, s.axis, s.value, s.annotator, s.outcome) for s in draft.said]


def test_two_people_who_agree_make_a_pair():
    draft = label_studio.read(
        task(slip(pairwise("right")), slip(pairwise("right"), who={"id": 4, "email": "ann@example.org"}))
    )
    assert (draft.prompt, draft.id) == (asked(("image", "pets/a b.jpg"), "What?"), "9")
    assert texts(draft) == [("A dog.", "rejected"), ("A cat.", "chosen")]
    verdict = Outcome.VERDICT
    assert said(draft) == [
        ((0, 1), "preference", -1.0, "person:3", verdict),
        ((0, 1), "preference", -1.0, "person:4", verdict),
    ]
    assert draft.pairs == (DraftPair(1, 0),)
    assert draft.said[0].raw == '{"selected": "right"}'
    assert "ann@" not in str(draft)


@pytest.mark.parametrize(
    "slips",
    [
        [slip(pairwise("left")), slip(pairwise("right"), who=4)],
        [slip(pairwise("left")), slip(choice("Tie"), who=4)],
        [slip(choice("both bad"))],
        [slip(was_cancelled=True)],
        [],
    ],
)
def test_without_agreement_there_is_no_pair(slips):
    draft = label_studio.read(task(*slips))
    assert (draft.pairs, len(draft.said)) == ((), len(slips))


def test_choices_stand_for_sides_ties_and_grades():
    assert said(label_studio.read(task(slip(choice("Answer1")))))[0][1:3] == ("preference", 1.0)
    assert said(label_studio.read(task(slip(choice("right")))))[0][1:3] == ("preference", -1.0)
    assert said(label_studio.read(task(slip(choice("tie")))))[0][2:] == (0.0, "person:3", Outcome.TIE)
    assert said(label_studio.read(task(slip(choice("good", to="answer2")))))[0][:3] == ((1,), "verdict", 1.0)
    unknown = said(label_studio.read(task(slip(choice("blurred")))))[0]
    assert unknown == ((0, 1), "verdict", None, "person:3", Outcome.UNPARSABLE)


def test_a_skipped_task_is_an_abstention_and_a_prediction_a_model():
    draft = label_studio.read(
        task(slip(was_cancelled=True)) | {"predictions": [{"model_version": "m1", "result": [pairwise("left")]}, 17]}
    )
    assert said(draft) == [
        ((0, 1), "skipped", None, "person:3", Outcome.ABSTAIN), ((0, 1), "preference", 1.0, "m1", Outcome.VERDICT),
    ]  # fmt: skip
    assert draft.pairs == ()


def test_ratings_are_of_the_answer_they_name():
    rating = result("rating", {"rating": 4}, "quality", "answer2")
    assert said(label_studio.read(task(slip(rating))))[0][:3] == ((1,), "quality", 4.0)
    one = {
        "data": {"question": "Q?", "response": "R."},
        "annotations": [slip(result("rating", {"rating": 2}, "q", "txt"))],
    }
    draft = label_studio.read(one)
    assert (texts(draft), said(draft)[0][:3]) == ([("R.", None)], ((0,), "q", 2.0))


def test_ranked_items():
    items = [{"id": "a", "title": "First", "body": "One."}, {"id": "b", "body": "Two."}, {"id": 3, "body": "Three."}]
    ranks = result("ranker", {"ranker": {"good": ["b", "3"], "bad": ["a"]}}, "rank", "items")
    draft = label_studio.read({"data": {"prompt": "Best?", "items": items}, "annotations": [slip(ranks)]})
    # in order: b, 3, a
    assert said(draft) == [
        ((i,), "rank", value, "person:3", Outcome.VERDICT) for i, value in ((1, 0.0), (2, -1.0), (0, -2.0))
    ]


def test_what_is_no_judgement_is_passed_over():
    draft = label_studio.read(
        task(slip(result("textarea", {"text": ["because"]}), result("rectanglelabels", {"x": 1})))
    )
    assert draft.said == ()


REFUSED = {
    "no data": ({"annotations": []}, BAD, "data is missing"),
    "data that is a text": ({"data": "x", "annotations": []}, BAD, "data is a str"),
    "no answers": ({"data": {"prompt": "?", "foo": "x"}, "annotations": []}, BAD, "data has no answers, only prompt, foo"),
    "no prompt": ({"data": without(DATA, "prompt"), "annotations": []}, BAD, "data.prompt is missing"),
    "an answer that is a number": (task(answer1=5), BAD, "data.answer1 is an int"),
    "an empty answer": (task(answer2=" "), EMPTY, "data.answer2 is empty"),
    "an item without a body": ({"data": {"prompt": "?", "items": [{"id": "a"}]}, "annotations": []}, BAD, "items[0].body is missing"),
    "an annotation that is a number": (task(7), BAD, "annotations[0] is an int"),
    "nobody": (task(slip(pairwise("left"), who=None)), BAD, "completed_by is missing"),
    "somebody by mail": (task(slip(pairwise("left"), who="ann@example.org")), BAD, "completed_by is a str"),
    "a result without a value": (task(slip({"type": "pairwise"})), BAD, "result[0] has no value"),
    "a side that is none": (task(slip(pairwise("up"))), BAD, "selects 'up' of 2 answers"),
    "a side that is a list": (task(slip(pairwise(["left"]))), BAD, "of 2 answers"),
    "sides of one answer": ({"data": {"prompt": "?", "answer": "x"}, "annotations": [slip(pairwise("left"))]}, BAD, "of 1 answers"),
    "a rating that is a text": (task(slip(result("rating", {"rating": "4"}, to="answer1"))), BAD, "rating is a str"),
    "a rating that is no number": (task(slip(result("rating", {"rating": NAN}, to="answer1"))), BAD, "rating is nan"),
    "a rating that is missing": (task(slip(result("rating", {}, to="answer1"))), BAD, "rating is missing"),
    "a rating of neither": (task(slip(result("rating", {"rating": 3}, to="image"))), BAD, "to_name is 'image', which names none of answer1, answer2"),
    "a rating of a list": (task(slip(result("rating", {"rating": 3}, to=["answer1"]))), BAD, "to_name is"),
    "a choice that is a number": (task(slip(result("choices", {"choices": [3]}))), BAD, "choices is an int"),
    "a rank of a strange item": (task(slip(result("ranker", {"ranker": {"r": ["z"]}}))), BAD, "ranks 'z', which is not an item"),
    "a rank given twice": (task(slip(result("ranker", {"ranker": {"r": ["answer1", "answer1"]}}))), BAD, "twice"),
    "a ranker that is a list": (task(slip(result("ranker", {"ranker": []}))), BAD, "ranker is a list"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_bad_row_is_refused_in_words(name):
    refused(label_studio, *REFUSED[name])
