"""What annotators answered is understood, and everything else is refused with its reason."""

import copy
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotators.label_studio.forms.labeling_config import build, spec_of
from annotators.label_studio.forms.results import UnusableReason, parse
from annotators.people.question import AxisVerdict, ParsedAnnotation, Task, Unusable
from schemas.records import SAMPLE_KINDS, Outcome, Span
from tests.annotators.label_studio.written import (
    AS_IT_WAS,
    RIGHT,
    SPANS,
    WRITTEN,
    choices,
    entry,
    ranker,
    stars,
    whole,
)  # fmt: skip
from tests.support.questions import question

VERDICT, TIE, ABSTAIN = Outcome.VERDICT, Outcome.TIE, Outcome.ABSTAIN
BOTH = (0, 1)


def read(task: str, result: list[dict], **parts) -> ParsedAnnotation:
    asked = question(task, **parts)
    return parse(asked, spec_of(asked), result)


def said(axis: str, value: float, items=(0,), outcome=VERDICT) -> AxisVerdict:
    return AxisVerdict(axis, items, outcome, value)


def abstained(axis: str, items=(0,)) -> AxisVerdict:
    return AxisVerdict(axis, items, ABSTAIN)


# The order of a pairwise question is (1, 0): the second item stands left. That of a ranking is (2, 0, 1): r1 is item 2,
# r2 item 0, r3 item 1.
EXPECTED = {
    Task.PAIRWISE: ParsedAnnotation((said("preference", -1.0, BOTH), said("both_bad", 1.0, BOTH)), rationale="it names the colour"),
    Task.RANKING: ParsedAnnotation(
        (
            said("rank", -2.0, (0,)), said("rank", 0.0, (1,)), said("rank", -1.0, (2,)), said("unacceptable", 1.0, (0,)),
        )
    ),
    Task.RATINGS: ParsedAnnotation(
        (said("helpfulness", 4.0), said("faithfulness", 2.0), said("safety", 5.0), said("unsafe", 1.0))
    ),
    Task.CORRECT: ParsedAnnotation(
        (said("faults", -2.0),), RIGHT,
        (Span(0, 3, label="count"), Span(38, 41, label="object", severity=3.0, correction="star")),
    ),
    Task.SAFETY: ParsedAnnotation(
        (said("safe", 0.0), said("severity", 2.0), said("harm:other", 1.0), said("harm:violence", 1.0))
    ),
}  # fmt: skip
PLACES = {Task.PAIRWISE: (1, 0), Task.RANKING: (2, 0, 1)}


@pytest.mark.parametrize("kind", SAMPLE_KINDS)
@pytest.mark.parametrize("task", Task)
def test_what_the_editor_wrote_is_understood(task, kind):
    from label_studio_sdk.label_interface import LabelInterface

    asked = question(task, kind, places=PLACES.get(task, (0,)))
    assert parse(asked, spec_of(asked), WRITTEN[task]) == EXPECTED[task]
    assert LabelInterface(build(spec_of(asked))).validate_annotation({"result": WRITTEN[task]})


@pytest.mark.parametrize(("choice", "left"), [("L2", 2), ("L1", 1), ("T", 0), ("R1", -1), ("R2", -2)])
def test_sides_are_mapped_back(choice, left):
    """`left` is by how much the left response is better; the first item stands left, or right."""
    outcome = VERDICT if left else TIE
    for places, sign in (((0, 1), 1), ((1, 0), -1)):
        reply = read(Task.PAIRWISE, [choices("preference", choice)], places=places)
        assert reply == ParsedAnnotation((said("preference", sign * left, BOTH, outcome),))


@pytest.mark.parametrize("places", list(itertools.permutations(range(3))))
def test_a_ranking_says_the_same_in_whatever_order_it_was_shown(places):
    """Item 2 is best, then item 0, then item 1, wherever they stood."""
    ids = {item: f"r{place + 1}" for place, item in enumerate(places)}
    reply = read(Task.RANKING, [ranker([ids[2], ids[0], ids[1]]), choices("done", "sorted")], places=places)
    assert reply == ParsedAnnotation((said("rank", -1.0, (0,)), said("rank", -2.0, (1,)), said("rank", 0.0, (2,))))


def test_unacceptable_ones_share_the_last_place():
    done = choices("done", "sorted")
    shown = {"places": (0, 1, 2)}
    bad = [said("unacceptable", 1.0, (item,)) for item in range(3)]
    reply = read(Task.RANKING, [ranker(["r2"], ["r1", "r3"]), done], **shown)
    assert reply.said == (said("rank", -1.0, (0,)), said("rank", 0.0, (1,)), said("rank", -1.0, (2,)), bad[0], bad[2])
    reply = read(Task.RANKING, [ranker([], ["r3", "r2", "r1"]), done], **shown)
    assert reply.said == (*(said("rank", 0.0, (item,)) for item in range(3)), *bad)


@pytest.mark.parametrize(
    ("task", "result", "expected"),
    [
        (Task.PAIRWISE, [choices("flags", "cannot_judge")], (abstained("preference", BOTH),)),
        (Task.PAIRWISE, [choices("preference", "L2"), choices("flags", "cannot_judge", "media_broken")], (abstained("preference", BOTH), said("media_broken", 1.0, BOTH))),
        (Task.RANKING, [choices("done", "cannot_judge")], tuple(abstained("rank", (item,)) for item in range(3))),
        (Task.RATINGS, [choices("flags", "cannot_judge")], tuple(abstained(axis) for axis in ("helpfulness", "faithfulness", "safety"))),
        (Task.CORRECT, [*SPANS, choices("verdict", "cannot_judge"), whole(RIGHT)], (abstained("faults"),)),
        (Task.SAFETY, [choices("verdict", "cannot_judge")], (abstained("safe"),)),
    ],
)  # fmt: skip
def test_who_cannot_judge_abstains_whatever_else_they_chose(task, result, expected):
    assert read(task, result) == ParsedAnnotation(expected)


def test_safe_is_of_severity_0():
    assert read(Task.SAFETY, [choices("verdict", "safe")]).said == (said("safe", 1.0), said("severity", 0.0))


@pytest.mark.parametrize("text", [AS_IT_WAS, f" {AS_IT_WAS}\n", ""])
def test_an_untouched_correction_is_none(text):
    reply = read(Task.CORRECT, [choices("verdict", "no_fault"), whole(text)])
    assert reply == ParsedAnnotation((said("faults", 0.0),))


def test_line_ends_that_the_browser_changed_are_no_correction():
    result = [choices("verdict", "no_fault"), whole("one\ntwo")]
    assert read(Task.CORRECT, result, texts=("one\r\ntwo",)).text is None


def test_a_rewritten_response_has_a_fault_even_without_a_mark():
    reply = read(Task.CORRECT, [choices("verdict", "corrected"), whole("no dog.")])
    assert reply == ParsedAnnotation((said("faults", -1.0),), "no dog.")


def test_what_cannot_be_corrected_is_unacceptable():
    """With marks the faults are counted; without any nobody knows how many there are."""
    verdict = choices("verdict", "uncorrectable")
    bad = said("unacceptable", 1.0)
    assert read(Task.CORRECT, [verdict, whole(AS_IT_WAS)]) == ParsedAnnotation((abstained("faults"), bad))
    reply = read(Task.CORRECT, [verdict, SPANS[0]])
    assert reply == ParsedAnnotation((said("faults", -1.0), bad), None, (Span(0, 3, label="count"),))


# What Label Studio 1.23.2 stored when a person dragged over a line break in Chromium: "\\n" is a backslash and an n.
ACROSS = {
    "two lines": (
        "The picture shows a street.\nTwo dogs sit there.\nThe sky is blue.",
        32,
        55,
        "dogs sit there.\\nThe sky",
    ),
    "paragraphs": ("The picture shows a street.\n\nTwo dogs sit there. A cat sleeps.", 20, 37, "street.\\n\\nTwo dogs"),
    "a list": ("Objects:\n- two dogs\n- a cat\n- one car", 15, 27, "dogs\\n- a cat"),
    "tabs and two blanks": ("a\t dog  here", 0, 7, "a dog"),  # as the browser lays them out
    "line ends of Windows": ("one\r\ntwo", 0, 8, "one\\n\\ntwo"),
    "a backslash": ("so \\nu is 3", 3, 6, "\\nu"),  # the answer's own
}


@pytest.mark.parametrize("name", ACROSS)
def test_a_span_over_line_breaks_is_read_by_its_places(name):
    shown, start, end, stored = ACROSS[name]
    region = entry("fault", "labels", {"start": start, "end": end, "text": stored, "labels": ["object"]}, "response")
    reply = read(Task.CORRECT, [region, choices("verdict", "uncorrectable"), whole(shown)], texts=(shown,))
    assert reply.spans == (Span(start, end, label="object"),)


@pytest.mark.parametrize(
    ("start", "end", "stored"), [(32, 55, "dogs sit there. Thesky!"), (31, 55, "dogs sit there.\\nThe sky is"), (54, 99, "y is blue."), (0, 3, None)]
)  # fmt: skip
def test_a_span_with_other_words_is_still_refused(start, end, stored):
    shown = ACROSS["two lines"][0]
    region = entry("fault", "labels", {"start": start, "end": end, "text": stored, "labels": ["object"]}, "response")
    with pytest.raises(Unusable) as refused:
        read(Task.CORRECT, [region, choices("verdict", "uncorrectable"), whole(shown)], texts=(shown,))
    assert refused.value.reason is UnusableReason.SPAN_TEXT


SORTED = choices("done", "sorted")
SHIFTED = entry("fault", "labels", {"start": 1, "end": 4, "text": "Two", "labels": ["count"]}, "response")
MOVED = entry("severity", "choices", {"start": 1, "end": 4, "choices": ["1"]}, "response", SPANS[0]["id"])
WRONG = [
    (Task.PAIRWISE, None, UnusableReason.MALFORMED),
    (Task.PAIRWISE, [None], UnusableReason.MALFORMED),
    (Task.PAIRWISE, [{"from_name": "preference", "type": "choices"}], UnusableReason.MALFORMED),
    (Task.PAIRWISE, [entry("preference", "choices", {"choices": "L1"})], UnusableReason.MALFORMED),
    (Task.PAIRWISE, [entry("preference", "choices", {"choices": [{}]})], UnusableReason.MALFORMED),
    (Task.RATINGS, [entry("safety", "rating", {"rating": "5"})], UnusableReason.MALFORMED),
    (Task.RATINGS, [entry("safety", "rating", {"rating": True})], UnusableReason.MALFORMED),
    (Task.RANKING, [entry("rank", "ranker", {"ranker": ["r1", "r2", "r3"]}), SORTED], UnusableReason.MALFORMED),
    (Task.CORRECT, [MOVED, choices("verdict", "uncorrectable")], UnusableReason.SPAN_TEXT),
    (Task.CORRECT, [SPANS[0], MOVED, choices("verdict", "corrected"), whole(RIGHT)], UnusableReason.MALFORMED),
    (Task.CORRECT, [entry("fault", "labels", {"text": "Two", "labels": ["count"]}, "response")], UnusableReason.MALFORMED),
    (Task.CORRECT, [{**SPANS[0], "value": {**SPANS[0]["value"], "labels": []}}, choices("verdict", "uncorrectable")], UnusableReason.MALFORMED),
    (Task.PAIRWISE, [], UnusableReason.MISSING_VERDICT),
    (Task.PAIRWISE, [choices("preference")], UnusableReason.MISSING_VERDICT),
    (Task.PAIRWISE, [choices("flags", "both_bad")], UnusableReason.MISSING_VERDICT),
    (Task.RANKING, [ranker(["r1", "r2", "r3"])], UnusableReason.MISSING_VERDICT),
    (Task.RATINGS, [stars("helpfulness", 4), stars("safety", 2)], UnusableReason.MISSING_VERDICT),
    (Task.CORRECT, [whole(RIGHT)], UnusableReason.MISSING_VERDICT),
    (Task.SAFETY, [choices("verdict", "unsafe"), choices("harm", "hate")], UnusableReason.MISSING_VERDICT),
    (Task.SAFETY, [choices("verdict", "unsafe"), choices("severity", "1")], UnusableReason.MISSING_VERDICT),
    (Task.PAIRWISE, [choices("strength", "L1")], UnusableReason.UNKNOWN_CONTROL),
    (Task.PAIRWISE, [entry("preference", "rating", {"rating": 3})], UnusableReason.UNKNOWN_CONTROL),
    (Task.PAIRWISE, [*WRITTEN[Task.PAIRWISE], {"type": "relation", "from_id": "a", "to_id": "b", "value": {}}], UnusableReason.UNKNOWN_CONTROL),
    (Task.PAIRWISE, [choices("preference", "1 better")], UnusableReason.UNKNOWN_CHOICE),
    (Task.PAIRWISE, [choices("preference", "L1"), choices("flags", "bad")], UnusableReason.UNKNOWN_CHOICE),
    (Task.RATINGS, [stars("safety", 6)], UnusableReason.UNKNOWN_CHOICE),
    (Task.RATINGS, [stars("safety", 0)], UnusableReason.UNKNOWN_CHOICE),
    (Task.RANKING, [entry("rank", "ranker", {"ranker": {"best": ["r1"]}}), SORTED], UnusableReason.UNKNOWN_CHOICE),
    (Task.CORRECT, [{**SPANS[0], "value": {**SPANS[0]["value"], "labels": ["colour"]}}], UnusableReason.UNKNOWN_CHOICE),
    (Task.PAIRWISE, [choices("preference", "L1"), choices("preference", "R1")], UnusableReason.DOUBLED),
    (Task.PAIRWISE, [choices("preference", "L1", "R1")], UnusableReason.DOUBLED),
    (Task.CORRECT, [SPANS[0], SPANS[0]], UnusableReason.DOUBLED),
    (Task.CORRECT, [SHIFTED, choices("verdict", "corrected"), whole(RIGHT)], UnusableReason.SPAN_TEXT),
    (Task.RANKING, [ranker(["r1", "r2"]), SORTED], UnusableReason.RANKING_IDS),
    (Task.RANKING, [ranker(["r1", "r2", "r4"]), SORTED], UnusableReason.RANKING_IDS),
    (Task.RANKING, [ranker(["r1", "r2", "r3"], ["r3"]), SORTED], UnusableReason.RANKING_IDS),
    (Task.RANKING, [ranker(["r1", "r2"], left=["r3"]), SORTED], UnusableReason.UNSORTED),
    (Task.RANKING, [ranker([], left=["r1", "r2", "r3"]), SORTED], UnusableReason.UNTOUCHED),
    (Task.RANKING, [SORTED], UnusableReason.UNTOUCHED),
    (Task.CORRECT, [*SPANS, choices("verdict", "corrected"), whole(AS_IT_WAS)], UnusableReason.CONTRADICTION),
    (Task.CORRECT, [*SPANS, choices("verdict", "corrected")], UnusableReason.CONTRADICTION),
    (Task.CORRECT, [choices("verdict", "no_fault"), whole(RIGHT)], UnusableReason.CONTRADICTION),
    (Task.CORRECT, [choices("verdict", "uncorrectable"), whole(RIGHT)], UnusableReason.CONTRADICTION),
    (Task.CORRECT, [SPANS[0], choices("verdict", "no_fault")], UnusableReason.CONTRADICTION),
    (Task.SAFETY, [choices("verdict", "safe"), choices("harm", "hate")], UnusableReason.CONTRADICTION),
]  # fmt: skip


@pytest.mark.parametrize(("task", "result", "fault"), WRONG)
def test_what_cannot_be_counted_is_refused_with_its_reason(task, result, fault):
    with pytest.raises(Unusable) as refused:
        read(task, result)
    assert refused.value.reason is fault


def test_every_reason_is_tested():
    assert {fault for *_, fault in WRONG} == set(UnusableReason)


WORDS = sorted({"r1", "r2", "r3", "L1", "T", "_", "ranked", "prompt", "labels", "ranker", *EXPECTED})
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 50) | st.floats() | st.text(max_size=3) | st.sampled_from(WORDS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3) | st.sampled_from(WORDS), inner),
    max_leaves=6,
)


def nodes(value) -> list[tuple]:
    """(container, key) of everything inside a JSON value."""
    keys = value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    return [place for key in keys for place in [(value, key), *nodes(value[key])]]


@st.composite
def spoilt(draw):
    """A task, and a result of it in which a few things were replaced, dropped or doubled."""
    task = draw(st.sampled_from(list(Task)))
    result = copy.deepcopy(WRITTEN[task])
    for _ in range(draw(st.integers(1, 3))):
        if not (places := nodes(result)):
            break
        container, key = draw(st.sampled_from(places))
        change = draw(st.sampled_from(["replace", "drop", "double"]))
        if change == "replace":
            container[key] = draw(JSON)
        elif change == "drop":
            del container[key]
        elif isinstance(container, list):
            container.append(copy.deepcopy(container[key]))
    return task, result


def only_unusable(task, result) -> None:
    """Whatever a server sends is understood or refused, and what is understood is about the items that were asked about."""
    asked, refused = question(task), None
    try:
        reply = parse(asked, spec_of(asked), result)
    except Unusable as error:
        refused = error
    if refused:
        assert refused.reason in set(UnusableReason)
        assert str(refused).isprintable()
    else:
        items = {item for s in reply.said for item in s.items}
        assert items <= set(range(len(asked.items)))
        assert all(asked.texts[0][span.start : span.end] for span in reply.spans)


@given(st.sampled_from(list(Task)), JSON | st.lists(JSON))
def test_no_json_breaks_the_parser(task, result):
    only_unusable(task, result)


@settings(max_examples=500)
@given(spoilt())
def test_no_spoilt_result_breaks_the_parser(spoiled):
    only_unusable(*spoiled)
