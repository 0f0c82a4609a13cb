"""Rules about short answers: what each takes for the answer, and what hostile answers come to."""

import asyncio
import time

import pytest
from pydantic import ValidationError

from annotators.judge import rule
from annotators.rules import answers, boxes, choice, sandbox
from annotators.rules.answers import RuleResult
from schemas.errors import NoVerdict, RowError
from schemas.records import Outcome, Reason
from tests.support.rows import context, rows_of

LONG = 100_000
HOSTILE = (
    "B" * LONG,
    "(" * LONG,
    "answer" + " " * LONG,
    "<answer>" * 12_000,
    "1," * 50_000,
    "[1," * 30_000,
    "A or " * 20_000,
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (" a cup ", ("a cup", False)),
        ("<think>red or blue</think>\n<answer> red </answer>", ("red", True)),
        ("<answer>red", ("red", True)),  # cut off
        ("<answer>red</answer> <answer>red</answer>", ("red", True)),
        ("<answer>red</answer> <answer>blue</answer>", (None, True)),
        ("Answer: red? No. Final Answer: blue", ("blue", True)),
        ("**Answer:** blue", ("blue", True)),
        ("İ the FINAL answer is blue", ("blue", True)),
        ("<think>so</think> red", ("red", False)),
        ("", ("", False)),
    ],
)
def test_what_of_a_text_is_the_answer(text, said):
    assert answers.final_answer(text) == said


def test_exact_wants_the_characters_normalised_the_words():
    assert answers.exact(" The Cat. ", "The Cat.").value == 1
    assert answers.exact("the cat", "The Cat.").value == 0
    for text in ("the CAT", "A cat!", "<answer>cat.</answer>", "ｃａｔ"):
        assert answers.normalised(text, "The Cat.") == RuleResult(1.0, answers.final_answer(text)[0])
    assert answers.normalised("a café", "CAFE\u0301").value == 1  # one accent, written in two ways
    assert answers.normalised("1,000 m", "1000 M").value == 1
    assert answers.normalised("3.5", "35").value == 0
    assert answers.normalised("red,blue", "red, blue").value == 1
    assert answers.normalised("", "cat").value == 0
    assert answers.normalised("a", "A").value == 1
    assert answers.normalised("a", "B").value == 0
    assert answers.exact("", "").value == 0
    with pytest.raises(RowError, match="no letter"):
        answers.normalised("x", "...")


OPTIONS = {"A": "a roof", "B": "two cups"}


@pytest.mark.parametrize(
    "text",
    [
        "B", "(B)", "b", "**B**", "B. two cups", "B) cups", "The answer is B.", "so the answer is (B), as seen", "Answer: B", "\\boxed{B}",
        "$\\boxed{\\text{B}}$", "I choose (B).", "B is correct", "I think it is B", "two cups", "Two cups!", "A man says so: it is B",
        "<think>A? C?</think><answer>B</answer>", "Option B", "The correct answer is: **B. two cups**", "选B", "答案：B。",
    ],
)  # fmt: skip
def test_the_letter_is_found_however_it_is_written(text):
    assert choice.choice(text, "B", OPTIONS) == RuleResult(1.0, "B")
    assert choice.choice(text, "(B) two cups", OPTIONS).value == 1
    assert choice.choice(text, "A", OPTIONS).value == 0


@pytest.mark.parametrize(
    "text",
    ["", "A man stands there", "I see.", "B or C", "(A) or (B)", "Answer: (B) or (C)", "Both A and B", "The answer is B. No, the answer is A.",
     "<answer>A</answer><answer>B</answer>", "three cups"],
)  # fmt: skip
def test_no_letter_and_two_letters_are_no_choice(text):
    assert choice.choice(text, "B", OPTIONS) == RuleResult(0.0, None)


def test_options_are_read_from_the_question():
    assert choice.options_of("What? A. a roof B. a leaf") == {"A": "a roof", "B": "a leaf"}
    assert choice.options_of("What?\n(A) a roof\n(B) a leaf of it\n") == {"A": "a roof", "B": "a leaf of it"}
    assert choice.options_of("A. Turing is who?") == {}
    assert choice.choice("leaf", "a leaf", {"A": "a roof", "B": "a leaf"}) == RuleResult(1.0, "B")
    with pytest.raises(RowError, match="neither a letter"):
        choice.choice("B", "a house", OPTIONS)


def test_numbers_may_be_off_by_a_share_of_the_right_one():
    # 5 % of 100 is 5: 95 and 105 are right, 94.9 is not; of 0 nothing is
    for text, right in (("95", 1), ("105.0", 1), ("94.9", 0), ("1e2", 1), ("200/2", 1), ("-100", 0)):
        assert answers.number(text, "100", 0.05).value == right, text
    assert answers.number("0.01", "0", 0.05).value == 0
    assert answers.number("1,000", "1000", 0).value == 1
    assert answers.number("there are three", "3", 0) == RuleResult(1.0, "3")
    assert answers.number("3 + 4 = 7", "7", 0) == RuleResult(1.0, "7")  # of free text the last one
    assert answers.number("<answer>3 or 4</answer>", "4", 0) == RuleResult(0.0, None)
    for text in ("NaN", "inf", "1e999", "", "none", "1/0"):
        assert answers.number(text, "3", 0.05) == RuleResult(0.0, None), text
    with pytest.raises(RowError, match="not a single number"):
        answers.number("3", "many", 0.05)


@pytest.mark.parametrize(
    "text",
    ["[0, 0, 10, 10]", '```json\n[{"bbox_2d": [0, 0, 10, 10], "label": "cup"}]\n```', "<|box_start|>(0,0),(10,10)<|box_end|>",
     "[[0, 0], [10, 10]]", '{"x1": 0, "y1": 0, "x2": 10.0, "y2": 10}', "0 0 10 10", "<answer>[0,0,10,10]</answer>"],
)  # fmt: skip
def test_a_box_is_read_from_every_notation(text):
    # [0,0,10,10] and [5,0,15,10] share 5 x 10 = 50 of 100 + 100 - 50 = 150: a third
    assert boxes.iou(text, "[5, 0, 15, 10]").value == 0.3333
    assert boxes.iou(text, "(0,0),(10,10)").value == 1


def test_no_box_several_boxes_and_boxes_without_a_size_cover_nothing():
    for text in ("", "left", "[nan, 0, 1, 1]", "[0,0,10,10] or [1,1,2,2]", "[10, 10, 0, 0]", "[5,5,5,5]", "[1, 2, 3]"):
        assert boxes.iou(text, "[0, 0, 10, 10]").value == 0, text
    with pytest.raises(RowError, match="not a single box"):
        boxes.iou("[0,0,1,1]", "[3, 3, 3, 3]")


def test_one_label_and_no_other_is_named():
    labels = ("dog", "hot dog", "cat")
    assert answers.label("It is a hot dog.", "hot dog", labels) == RuleResult(1.0, "hot dog")
    assert answers.label("A hot dog", "dog", labels) == RuleResult(0.0, "hot dog")
    assert answers.label("a dog or a cat", "dog", labels) == RuleResult(0.0, None)
    assert answers.label("hotdogs", "dog", labels) == RuleResult(0.0, None)
    with pytest.raises(RowError, match="not one of the labels"):
        answers.label("dog", "cow", labels)


def test_refusals_are_found_by_their_phrases():
    phrases = ["I'm sorry", "i cannot"]
    assert answers.refused("I’m  SORRY, no.", phrases) == RuleResult(1.0, "I'm sorry")
    assert answers.refused("There is a cup.", phrases) == RuleResult(0.0, None)


def test_long_hostile_answers_cost_no_time():
    started = time.process_time()
    for text in HOSTILE:
        for check in (
            answers.exact, answers.normalised, lambda t, a: choice.choice(t, a, OPTIONS), lambda t, _: answers.number(t, "3", 0.05),
            lambda t, _: boxes.iou(t, "[0,0,1,1]"), lambda t, a: answers.label(t, a, ("B", "cup")),
            lambda t, _: answers.refused(t, ["i cannot"]),
        ):  # fmt: skip
            check(text, "B")
    assert time.process_time() - started < 10  # a quadratic rule would take minutes


# rules that work in a process of their own


@pytest.mark.parametrize(
    ("text", "answer", "right"),
    [("0.5", "1/2", 1), ("so it is $\\frac12$", "\\frac{1}{2}", 1), ("$(x+1)^2$", "x^2+2x+1", 1), ("\\boxed{13}", "12", 0),
     ("<answer>12</answer>", "12", 1), ("", "12", 0), ("\\frac{" * 20_000, "12", 0)],
)  # fmt: skip
def test_equal_formulas_are_right(text, answer, right):
    assert sandbox.worker.ask("mathematics", text, answer, seconds=60).value == right


@pytest.mark.slow
def test_what_runs_for_ever_is_ended_and_the_next_question_is_answered():
    for rule_, *given in (
        ("pattern", "a" * 40 + "b", "(a+)+"),
        ("mathematics", "9^{9^{9^{9}}}", "12"),
        ("schema", '"' + "a" * 40 + 'b"', {"pattern": "^(a+)+$"}),
    ):
        with pytest.raises(NoVerdict) as error:
            sandbox.worker.ask(rule_, *given, seconds=1)
        assert error.value.outcome == Outcome.FAILED
    assert sandbox.worker.ask("pattern", "<think>a\nb</think> <answer>c</answer>", rule.THINK) == RuleResult(1.0, None)
    assert sandbox.worker.ask("pattern", "<answer>c</answer>", rule.THINK) == RuleResult(0.0, None)


def test_json_is_held_against_its_schema():
    wanted = {"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}}
    ask = lambda text: sandbox.worker.ask("schema", text, wanted)
    assert ask('{"n": 1}').value == ask('Here:\n```json\n{"n": 1}\n```').value == 1
    for text in ('{"n": "1"}', "{}", '{"n": 1', "", '{"n": NaN}', "[" * LONG, "two"):
        assert ask(text).value == 0, text[:20]
    assert ask("{}").read == "'n' is a required property"


# the judge


def judged(texts: list[str], settings: dict, question: str = "what is there ?", **known):
    rows = rows_of(texts, question=question, **known)
    slips = asyncio.run(rule.judge(rows, rule.Settings(**settings), context("truth")))
    return [(s.axis, s.outcome.value, s.value, s.raw) for s in slips]


def test_right_is_zero_and_wrong_is_less_so_that_pair_rules_and_where_can_read_it():
    assert judged(["red", "blue"], {}, answer="red") == [
        ("truth", "verdict", 0.0, "red"), ("truth", "verdict", -1.0, "blue"),
    ]  # fmt: skip
    asked = "which ? A. a roof B. a leaf"
    assert judged(["leaf", "A"], {}, asked, answer="B", answer_type="choice") == [
        ("truth", "verdict", 0.0, "B"), ("truth", "verdict", -1.0, "A"),
    ]  # fmt: skip


def test_a_box_leaves_its_iou_too():
    # a third is less than half, and enough where a quarter is
    known = {"answer": "[5, 0, 15, 10]", "answer_type": "iou"}
    assert judged(["[0, 0, 10, 10]"], {}, **known)[0][:3] == ("truth", "verdict", -1.0)
    assert [s[:3] for s in judged(["[0, 0, 10, 10]"], {"threshold": 0.25}, **known)] == [
        ("truth", "verdict", 0.0), ("iou", "verdict", 0.3333),
    ]  # fmt: skip


def test_what_is_not_known_is_no_verdict():
    assert judged(["red"], {}) == [("truth", "abstain", None, None)]
    assert judged(["red"], {"kind": "exact"}) == [("truth", "abstain", None, None)]
    assert judged(["red"], {}, facts='{"composed": {}}') == [("truth", "abstain", None, None)]


def test_a_form_and_a_refusal_have_axes_of_their_own():
    assert judged(["<think>a</think><answer>b</answer>", "b"], {"kind": "regex"}) == [
        ("format", "verdict", 0.0, None), ("format", "verdict", -1.0, None),
    ]  # fmt: skip
    assert judged(["I cannot.", "a cup"], {"kind": "refusal"}) == [
        ("refusal", "verdict", 1.0, "i cannot"), ("refusal", "verdict", 0.0, None),
    ]  # fmt: skip
    assert judged(["b"], {"kind": "regex", "axis": "truth", "regex": "b"}) == [("truth", "verdict", 0.0, None)]


def test_a_rule_that_takes_too_long_failed_and_the_others_stand(monkeypatch):
    monkeypatch.setattr(sandbox.worker.ask.__func__, "__kwdefaults__", {"seconds": 1})
    assert [s[1:3] for s in judged(["a" * 40 + "b", "aaa"], {"kind": "regex", "regex": "(a+)+"})] == [
        ("failed", None), ("verdict", 0.0),
    ]  # fmt: skip


def test_a_known_answer_of_another_kind_is_a_bad_row_that_is_named():
    with pytest.raises(
        RowError, match=r"rows.jsonl#3: the known answer 'many' is not a single number; correct it"
    ) as error:
        judged(["3"], {"kind": "number"}, answer="many", source="rows.jsonl#3")
    assert error.value.reason == Reason.BAD_ROW


def test_rewards_are_the_values_and_nothing_where_nothing_is_known():
    reward = lambda texts, settings, **known: rule.reward(
        rows_of([], **known).sample, texts, rule.Settings(**settings), context()
    )
    assert reward(["[0,0,10,10]", "no"], {"kind": "iou"}, answer="[5,0,15,10]") == [0.3333, 0.0]
    assert reward(["B", "A"], {"kind": "choice"}, answer="B") == [1.0, 0.0]
    assert reward(["B", "A"], {}) == reward(["3", "4"], {"kind": "number"}, answer="many") == [0.0, 0.0]


def test_settings_that_cannot_be_are_refused():
    for settings in (
        {"kind": "class"},
        {"kind": "json_schema"},
        {"json_schema": {}},
        {"regex": "("},
        {"kind": "vibes"},
    ):
        with pytest.raises(ValidationError):
            rule.Settings(**settings)
