import pytest

from pipeline.source.formats import label_studio
from pipeline.source.formats.draft import DraftPair
from pipeline.source.formats.fields import Cell
from schemas.errors import RowError
from schemas.records import Outcome, Reason
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


# Layouts: results as Label Studio 1.23.2's editor and server wrote them, and its converter's JSON-MIN (label_studio_sdk 2.1,
# converter.convert_to_json_min, utils.prettify_result); templates llm-ranker and pairwise-classification of its annotation_templates.

ITEMS = [{"id": f"{name}_model", "title": name, "body": f"{name}'s answer"} for name in ("llama", "cobra", "koala")]


def ranking(ranker: dict, **known) -> list[tuple]:
    row = {
        "data": {"prompt": "Jobs?", "items": ITEMS},
        "annotations": [slip(result("ranker", {"ranker": ranker}, "rank", "answers"))],
    }
    return [found[:3] for found in said(label_studio.read(row, label_studio.Names(**known)))]


STOCK = {"_": ["koala_model"], "biased_results": ["cobra_model"], "relevant_results": ["llama_model"]}


def test_the_order_of_buckets_is_not_that_of_the_export():
    # nothing says that relevant is better than biased: no ranks, and koala was left unsorted
    assert ranking(STOCK) == [((1,), "rank", None), ((0,), "rank", None)]
    assert ranking(STOCK, buckets=["relevant_results", "biased_results"]) == [((0,), "rank", 0.0), ((1,), "rank", -1.0)]


def test_buckets_in_unknown_order_name_the_setting_that_says_it():
    sorted_once = slip(result("ranker", {"ranker": STOCK}, "rank", "answers"))
    row = {"data": {"prompt": "Jobs?", "items": ITEMS}, "annotations": [sorted_once]}
    why = "the order of the buckets biased_results, relevant_results is unknown; name them, best first: `label_studio: {buckets: [...]}`"
    assert label_studio.read(row).no_pair == (Reason.NO_VERDICT, why)
    assert label_studio.read(row, label_studio.Names(buckets=["relevant_results", "biased_results"])).no_pair is None


def test_what_was_left_unsorted_has_no_rank():
    nobody = {"_": ["llama_model", "cobra_model", "koala_model"], "relevant_results": [], "biased_results": []}
    assert ranking(nobody) == ranking(nobody, buckets=["relevant_results", "biased_results"]) == []
    # one bucket: its own order
    assert ranking({"_": ["llama_model"], "ranked": ["koala_model", "cobra_model"]}) == [
        ((2,), "rank", 0.0),
        ((1,), "rank", -1.0),
    ]


def test_buckets_with_names_that_say_it_are_good_before_bad():
    # jsonb of PostgreSQL lists short keys first
    assert ranking({"_": [], "ranked": ["koala_model"], "unacceptable": ["llama_model", "cobra_model"]}) == [
        ((2,), "rank", 0.0), ((0,), "rank", -1.0), ((1,), "rank", -2.0),
    ]  # fmt: skip
    assert [r[0] for r in ranking({"bad": ["llama_model"], "good": ["koala_model"]})] == [(2,), (0,)]


def test_a_bucket_that_the_setting_does_not_name_is_refused():
    row = {
        "data": {"prompt": "Jobs?", "items": ITEMS},
        "annotations": [slip(result("ranker", {"ranker": STOCK}, "rank"))],
    }
    with pytest.raises(RowError, match=r"has the bucket 'biased_results', which `label_studio.buckets` does not name"):
        label_studio.read(row, label_studio.Names(buckets=["relevant_results", "other"]))


REGIONS = {
    "an interval of a sound": result("choices", {"start": 0.1, "end": 2.0, "channel": 0, "choices": ["left"]}, "side", "audio"),
    "an interval of a video": result("choices", {"ranges": [{"start": 1, "end": 9}], "choices": ["left"]}, "side", "video"),
    "a span of words": result("choices", {"start": 3, "end": 8, "text": "a dog", "choices": ["left"]}, "side", "answer1"),
    "a box": result("rating", {"x": 1, "y": 2, "width": 3, "height": 4, "rotation": 0, "rating": 2}, "clear", "image"),
    "a number of a box": result("number", {"x": 1, "y": 2, "width": 3, "height": 4, "number": 2}, "legs", "image"),
    "words in HTML": result("rating", {"start": "/div[1]/text()[1]", "end": "/div[1]/text()[1]", "globalOffsets": {"start": 0, "end": 3},
                            "rating": 5}, "tone", "answer1"),
    "one picture of several": result("rating", {"rating": 1}, "sharp", "image") | {"item_index": 1},
    "a choice on one picture of several": result("choices", {"choices": ["left"]}, "side", "image") | {"item_index": 0},
    "part of another region": result("choices", {"choices": ["right"]}, "side", "image") | {"parentID": "x"},
}  # fmt: skip


@pytest.mark.parametrize("name", REGIONS)
@pytest.mark.parametrize("data", [DATA, {"prompt": "What?", "response": "A dog."}])
def test_a_result_about_a_part_is_no_verdict_on_the_answers(name, data):
    draft = label_studio.read({"data": data, "annotations": [slip(REGIONS[name])]})
    assert (draft.said, draft.pairs) == ((), ())


def test_a_verdict_beside_regions_is_read():
    draft = label_studio.read(task(slip(*REGIONS.values(), pairwise("right"))))
    assert [s[:3] for s in said(draft)] == [((0, 1), "preference", -1.0)]


@pytest.mark.parametrize(
    ("names", "axes"),
    [
        (("rating1", "rating2"), ("rating", "rating")), (("quality_a", "quality_b"), ("quality", "quality")),
        (("rating_answer1", "rating_answer2"), ("rating", "rating")), (("stars", "stars"), ("stars", "stars")),
        (("clear", "short"), ("clear", "short")), (("rating_2", "rating_1"), ("rating_2", "rating")),  # crossed: another control's number stays
        (("rating_0", "rating_1"), ("rating", "rating")), (("gpt4", "gpt5"), ("gpt4", "gpt5")),
    ],
)  # fmt: skip
def test_two_ratings_bound_to_two_answers_rate_both_on_one_axis(names, axes):
    stars = [result("rating", {"rating": i + 3}, names[i], f"answer{i + 1}") for i in range(2)]
    assert [s[:3] for s in said(label_studio.read(task(slip(*stars))))] == [((0,), axes[0], 3.0), ((1,), axes[1], 4.0)]


def test_numbers_are_ratings_of_the_answer_they_name_or_refused():
    assert said(label_studio.read(task(slip(result("number", {"number": 7.5}, "score", "answer2")))))[0][:3] == (
        (1,),
        "score",
        7.5,
    )
    refused(
        label_studio,
        task(slip(result("number", {"number": 7}, "score", "prompt"))),
        BAD,
        "to_name is 'prompt', which names none of",
    )
    refused(label_studio, task(slip(result("number", {}, "score", "answer1"))), BAD, "number is missing")


def test_rows_of_a_repeater_are_the_answers_in_their_order():
    data = {"prompt": "?", "responses": [{"text": "One."}, {"text": "Two."}]}
    stars = [result("rating", {"rating": 5 - i}, f"quality_{i}", f"response_{i}") for i in range(2)]
    draft = label_studio.read({"data": data, "annotations": [slip(*stars)]})
    assert [s[:3] for s in said(draft)] == [((0,), "quality", 5.0), ((1,), "quality", 4.0)]
    for strange in ("response_2", "image_0", "response"):
        row = {"data": data, "annotations": [slip(result("rating", {"rating": 1}, "quality", strange))]}
        refused(label_studio, row, BAD, f"to_name is '{strange}', which names none of")


WORDS = {
    "Response A": 1, "response_b": -1, "Left": 1, "the left one": 1, "model_b is better": -1, "Model B is much better": -2, "1 better": 1,
    "2 much better": -2, "Answer 1": 1, "Second answer": -1, "A": 1, "Option 2 wins": -1, "L2": 2, "R1": -1, "T": 0, "About the same": 0,
    "both_bad": 0, "No preference": 0, "answer2": -1, "Assistant A is slightly better.": 1,
    "A is worse": None, "not A": None, "blurred": None, "A or B": None, "3": None, "left over": None,
}  # fmt: skip


@pytest.mark.parametrize("word", WORDS)
def test_choices_in_the_words_that_teams_use(word):
    (found,) = said(label_studio.read(task(slip(choice(word, to="prompt")))))
    axis = "verdict" if WORDS[word] is None else "preference"
    outcome = Outcome.UNPARSABLE if WORDS[word] is None else Outcome.VERDICT if WORDS[word] else Outcome.TIE
    assert found == ((0, 1), axis, WORDS[word], "person:3", outcome)


def test_a_projects_own_words_are_told_by_a_setting():
    known = label_studio.Names(choices={"Ours": "second", "Egal": "tie", "Passt": "yes", "left": "second"})
    read = lambda word, **data: said(label_studio.read(task(slip(choice(word, to="prompt")), **data), known))[0][1:3]
    assert [read(word) for word in ("ours", "Egal", "left", "right")] == [
        ("preference", -1.0),
        ("preference", 0.0),
        ("preference", -1.0),
        ("preference", -1.0),
    ]
    assert read("Passt") == ("verdict", None)  # a grade says nothing of two answers
    one = {"data": {"prompt": "?", "response": "x"}, "annotations": [slip(choice("Passt"))]}
    assert said(label_studio.read(one, known))[0][:3] == ((0,), "verdict", 1.0)


def test_of_several_controls_that_compare_one_is_the_preference():
    several = [
        result("choices", {"choices": [word]}, name, "prompt")
        for name, word in (("preference", "L2"), ("tone", "R1"), ("flags", "both_bad"))
    ]
    draft = label_studio.read(task(slip(*several)))
    assert [s[1:3] for s in said(draft)] == [("preference", 2.0), ("tone", -1.0), ("flags", 0.0)]
    assert draft.pairs == (DraftPair(0, 1),)
    refused(
        label_studio, task(slip(*several[1:])), BAD, "tone, flags all compare the answers; name the one that decides"
    )
    draft = label_studio.read(task(slip(*several)), label_studio.Names(preference="tone"))
    assert [s[1:3] for s in said(draft)] == [("control preference", 2.0), ("preference", -1.0), ("flags", 0.0)]
    assert draft.pairs == (DraftPair(1, 0),)


def test_fields_that_the_stock_names_do_not_cover_are_named_by_a_setting():
    # the stock template pairwise-classification: objects text1, text2 show $pairText1, $pairText2
    row = {
        "data": {"query": "?", "pairText1": "One.", "pairText2": "Two."},
        "annotations": [slip(pairwise("right"), result("rating", {"rating": 2}, "stars", "text2"))],
    }
    known = label_studio.Names(prompt="query", answers={"text1": "pairText1", "text2": "pairText2"})
    for once in (row, label_studio.prepared(row, known)):
        draft = label_studio.read(once, known)
        assert (draft.prompt, texts(draft)) == (asked("?"), [("One.", "rejected"), ("Two.", "chosen")])
        assert [s[:3] for s in said(draft)] == [((0, 1), "preference", -1.0), ((1,), "stars", 2.0)]
    refused(label_studio, row, BAD, "data has no answers")
    with pytest.raises(RowError, match=r"data\.pairText2 is missing, which `label_studio.answers` names"):
        label_studio.read({**row, "data": {"query": "?", "pairText1": "One."}}, known)


MIN = {
    **DATA,
    "id": 4,
    "annotator": 3,
    "annotation_id": 11,
    "created_at": "2026-11-21",
    "updated_at": "2026-11-21",
    "lead_time": 2.0,
}


def test_a_json_min_export_has_an_annotation_a_row():
    assert label_studio.fits(MIN) == "columns annotator, annotation_id"
    draft = label_studio.read({**MIN, "comparison": [{"selected": "right"}], "why": "clearer"})
    assert (draft.prompt, texts(draft)) == (
        asked(("image", "pets/a b.jpg"), "What?"),
        [("A dog.", "rejected"), ("A cat.", "chosen")],
    )
    assert said(draft) == [((0, 1), "preference", -1.0, "person:3", Outcome.VERDICT)]
    assert [s[1:3] for s in said(label_studio.read({**MIN, "verdict": "Response A", "why": "clearer"}))] == [
        ("preference", 1.0)
    ]
    assert [s[1:3] for s in said(label_studio.read({**MIN, "verdict": [{"choices": ["left", "unsafe"]}]}))] == [
        ("preference", 1.0),
        ("verdict", None),
    ]
    stars = {"rating_answer1": [{"rating": 4}], "rating_answer2": [{"rating": 1}]}
    assert [s[:3] for s in said(label_studio.read({**MIN, **stars}))] == [((0,), "rating", 4.0), ((1,), "rating", 1.0)]
    items = {
        **without(MIN, "answer1", "answer2"),
        "items": ITEMS,
        "rank": [{"ranker": {"_": [], "ranked": ["koala_model", "llama_model"]}}],
    }
    assert [s[:3] for s in said(label_studio.read(items))] == [((2,), "rank", 0.0), ((0,), "rank", -1.0)]


def test_what_json_min_cannot_tell_is_refused():
    refused(
        label_studio, {**MIN, "stars": [{"rating": 4}]}, BAD, "to_name is None, which names none of answer1, answer2"
    )
    box = [{"x": 1, "y": 1, "width": 2, "height": 2, "rectanglelabels": ["dog"]}]
    refused(label_studio, {**MIN, "side": "left", "boxes": box}, BAD, "side may be a choice about a marked region")
    assert said(label_studio.read({**MIN, "comparison": [{"selected": "left"}], "boxes": box}))[0][1:3] == (
        "preference",
        1.0,
    )
    assert label_studio.read({**MIN, "stars": [{"rating": 4, "x": 1, "y": 2, "width": 3, "height": 3}]}).said == ()
    refused(label_studio, {**MIN, "annotator": "ann@example.org", "verdict": "left"}, BAD, "completed_by is a str")


def test_csv_exports_are_read_like_json_min():
    row = {name: Cell(value) if isinstance(value, str) else value for name, value in MIN.items()} | {
        "annotator": Cell("3"),
        "verdict": Cell("Right"),
    }
    assert said(label_studio.read(row))[0] == ((0, 1), "preference", -1.0, "person:3", Outcome.VERDICT)
