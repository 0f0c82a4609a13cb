from pathlib import Path

import pytest
import yaml

from schemas.claim_patterns import compile_patterns, split, truth_of

DATA = yaml.safe_load((Path(__file__).parents[2] / "data/scenes/patterns.yaml").read_text())
PATTERNS = compile_patterns(DATA)
DESCRIBE = "describe the picture ."


def test_a_list_of_things_gives_one_claim_each():
    claims = split(PATTERNS, DESCRIBE, "there is a red circle at the top left , an orange star at the bottom right .")
    assert claims == [
        ("is there a red circle at the top left ?", True),
        ("is there an orange star at the bottom right ?", True),
    ]


def test_claims_use_the_words_of_the_question():
    claims = split(PATTERNS, "describe picture two .", "there is a red circle at the top left .")
    assert claims == [("is there a red circle at the top left of picture two ?", True)]


@pytest.mark.parametrize(
    ("answer", "one", "two"),
    [("picture one .", True, False), ("picture two .", False, True), ("both .", True, True), ("none .", False, False)],
)
def test_an_answer_can_deny(answer, one, two):
    claims = split(PATTERNS, "which picture has a star ?", answer)
    assert dict(claims) == {"is there a star in picture one ?": one, "is there a star in picture two ?": two}


def test_one_sentence_can_make_several_claims():
    assert split(PATTERNS, "what happens in the video ?", "an orange star moves left .") == [
        ("is the moving shape orange ?", True),
        ("is the moving shape a star ?", True),
        ("does it move left ?", True),
    ]


def test_forms_follow_the_number():
    assert split(PATTERNS, "what do you hear ?", "one low beep .")[0] == ("is there one beep ?", True)
    assert split(PATTERNS, "what do you hear ?", "three low beeps .")[0] == ("are there three beeps ?", True)


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        (DESCRIBE, ""),
        (DESCRIBE, "there is ."),
        (DESCRIBE, "there is a red circle at the top left"),
        (DESCRIBE, "there is a red circle at the top left , ."),
        (DESCRIBE, "there is a red circle at the top left , a red circle at the top left ."),
        (DESCRIBE, "there is an red circle at the top left ."),
        (DESCRIBE, "there is a orange circle at the top left ."),
        (DESCRIBE, "there is a pink circle at the top left ."),
        (DESCRIBE, "there is a red circle at the left ."),
        (DESCRIBE, "there is a red circle at the top left . there is a red circle at the top left ."),
        ("which picture has a star ?", "picture three ."),
        ("what happens in the video ?", "a red circle moves left , up ."),
        ("what do you hear ?", "one low beeps ."),
        ("what do you hear ?", "three low beep ."),
        ("what do you hear ?", "no low beeps ."),
    ],
)
def test_anything_else_is_malformed(question, answer):
    assert split(PATTERNS, question, answer) is None


def test_spaces_do_not_matter():
    answer = "  there is a red circle\n at the top  left . "
    assert split(PATTERNS, " describe the\npicture . ", answer) == [("is there a red circle at the top left ?", True)]


def test_an_unknown_question_is_not_a_malformed_answer():
    with pytest.raises(LookupError, match="who is it"):
        split(PATTERNS, "who is it ?", "both .")


def test_every_claim_is_one_of_the_questions():
    known = [q for questions in DATA["questions"].values() for q in questions.values()]
    asked = {
        q for task in DATA["tasks"] for form in task["answers"] for q in form.get("states", []) + form.get("denies", [])
    }
    asked = {q.replace("picture one", "picture {picture}").replace("picture two", "picture {picture}") for q in asked}
    assert asked <= set(known)


def test_literal_text_is_no_regular_expression():
    task = {"question": "is (a) here?", "answers": [{"answer": "{n} * 2.", "states": ["{n}?"]}]}
    patterns = compile_patterns({"slots": {"n": ["1+", "2"]}, "tasks": [task]})
    assert split(patterns, "is (a) here?", "1+ * 2.") == [("1+?", True)]
    assert split(patterns, "is (a) here?", "11 * 2x") is None


@pytest.mark.parametrize(
    ("form", "message"),
    [
        ({"answer": "{what} .", "states": ["x ?"]}, "unknown slot"),
        ({"answer": "yes ."}, "makes no claim"),
        ({"answer": "{items} .", "states": ["x ?"]}, "must be used together"),
        ({"answer": "{items} .", "item": "x", "states": ["x ?"]}, "must be used together"),
    ],
)
def test_a_template_at_fault_is_named(form, message):
    with pytest.raises(ValueError, match=message):
        compile_patterns({"slots": {}, "tasks": [{"question": "q ?", "answers": [form]}]})


FACTS = {"yes": ["red ?", "round ?"], "expect": [["red ?", True], ["square ?", False]]}


@pytest.mark.parametrize(
    ("claims", "truth", "exact"),
    [
        ([("red ?", True), ("square ?", False)], (2, 0, 1.0, False), True),
        ([("red ?", True), ("round ?", True)], (2, 0, 0.5, False), False),  # one of two expected claims
        ([("red ?", False), ("square ?", True)], (2, 2, 0.0, False), False),
        ([], (0, 0, 0.0, False), False),
        (None, (1, 1, 0.0, True), False),
    ],
)
def test_an_answer_is_as_true_as_its_claims_and_as_complete_as_what_is_expected(claims, truth, exact):
    found = truth_of(FACTS, claims)
    assert (found, found.exact) == (truth, exact)


def test_where_nothing_is_expected_every_answer_is_complete():
    assert truth_of({"yes": []}, [("red ?", False)]) == (1, 0, 1.0, False)
