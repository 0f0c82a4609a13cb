"""Answers as models give them, read by the rule `final`, against what a reader says: right, wrong, or neither (several answers, or one that nobody
can tell). `answers_by_hand.jsonl` (287) is what the rule was written with; `answers_of_a_model.jsonl` (80, SmolLM2-135M-Instruct, temperature 0.8,
110 tokens) was read before the rule was run on it. The labels were given first in both."""

import asyncio
import json
import time
from collections import Counter
from pathlib import Path

import pytest

from annotators.judge import rule
from annotators.rules import answers, statement
from annotators.rules.asserted import GONE, asserted
from schemas.errors import RowError
from schemas.records import Outcome
from tests.support.rows import context, rows_of

HERE = Path(__file__).parent
WRONGLY_RIGHT = {
    "The number of sides of a hexagon is determined by its size and the scale of its diagonals. A hexagon, when"
}


def judged(text: str, question: str = "what is there ?", settings: dict | None = None, **known):
    rows = rows_of([text], question=question, **known)
    return asyncio.run(rule.judge(rows, rule.Settings(**settings or {}), context("truth")))[0]


def labelled(name: str) -> list[tuple[str, str, str]]:
    """(the reader's word, the rule's, the text) of each answer, by the default rule for its answer_type."""
    found = []
    for line in (HERE / name).read_text().splitlines():
        row = json.loads(line)
        slip = judged(row["text"], row["question"], answer=row["answer"], answer_type=row["type"])
        said = "not read" if slip.outcome != Outcome.VERDICT else "right" if slip.value == 0 else "wrong"
        found.append((row["reads"], said, row["text"]))
    return found


@pytest.mark.parametrize(
    ("name", "right", "lost"), [("answers_by_hand.jsonl", 139, 3), ("answers_of_a_model.jsonl", 17, 1)]
)
def test_nothing_is_right_that_a_reader_finds_wrong_and_few_right_answers_are_lost(name, right, lost):
    """Before, the default without answer_type: 29 of 147 and 0 of 20 right ones found; with it 80 and 4, and 19 and 2 wrong ones taken for right."""
    found = labelled(name)
    counts = Counter(pair[:2] for pair in found)
    assert {text[:106] for reader, said, text in found if said == "right" and reader != "right"} <= {
        t[:106] for t in WRONGLY_RIGHT
    }
    assert counts["right", "right"] >= right
    assert counts["right", "wrong"] <= lost


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        ("It is 42, not 28.", "It is 42,"), ("It was not 28 but 42.", "but 42"), ("Is it 28? No, 42.", "No, 42."), ("I think 28. Wait, it is 42.", "it is 42."),
        ("<think>28</think>42", "42"), ("The answer is \"42\".", "The answer is 42 ."), ("People say \"28\", it is 42.", "it is 42."), ("There is no doubt that it is 42.", "it is 42."),
        ("It isn't 28.", ""), ("If it were 28, it would fit.", "it would fit."), ("Some say 28, it is 42.", "it is 42."), ("42, since 28 is less.", "42"),
    ],
)  # fmt: skip
def test_what_is_denied_quoted_asked_supposed_or_taken_back_is_not_asserted(text, rest):
    left = " ".join(asserted(text).replace(GONE.strip(), " ").split())
    assert rest.rstrip(".") in left
    assert "28" not in left


def test_a_thought_that_is_not_closed_asserts_nothing():
    assert asserted("<think>42") is None
    assert statement.contains("<think>42", "42").value == 0


@pytest.mark.parametrize(
    ("text", "known", "right"),
    [("Elena sold 42 books, Marco 28.", "42", 1), ("Elena sold 28, not 42.", "42", 0), ("It is in Paris or Lyon.", "Paris", 1), ("Parisian", "Paris", 0),
     ("It is not in Paris.", "Paris", 0), ("It weighs 5000 g.", "5 kg", 1), ("The red box, it says.", "red box", 1)],
)  # fmt: skip
def test_contains_wants_the_known_answer_somewhere_and_not_denied(text, known, right):
    assert statement.contains(text, known).value == right


def test_token_f1_is_squads_formula():
    # "the cat sat on mat" without articles: cat sat on mat; known: cat on mat: 3 shared; P = 3/4, R = 3/3: 2 * 3 / (4 + 3) = 0.8571
    assert answers.token_f1("The cat sat on the mat.", "a cat on a mat").value == 0.8571
    assert answers.token_f1("dog dog", "dog").value == round(2 * 1 / 3, 4)  # each as often as it occurs
    assert answers.token_f1("", "dog").value == answers.token_f1("cat", "dog").value == 0
    with pytest.raises(RowError, match="no letters"):
        answers.token_f1("x", "...")
    slips = asyncio.run(
        rule.judge(rows_of(["a red cat", "no"], answer="red cat"), rule.Settings(kind="f1"), context("truth"))
    )
    assert [(s.axis, s.value) for s in slips] == [("truth", 0.0), ("f1", 1.0), ("truth", -1.0), ("f1", 0.0)]


def test_an_answer_that_only_a_reader_could_tell_is_unparsable_and_earns_nothing():
    slip = judged("It is 42 or 28.", "How many ?", answer="42")
    assert (slip.outcome, slip.value) == ("unparsable", None)
    assert "42" in slip.raw
    assert judged("It is 27 or 28.", "How many ?", answer="42").value == -1  # whatever it says, not the known one
    sample = rows_of([], question="How many ?", answer="42").sample
    assert rule.reward(sample, ["It is 42 or 28.", "42"], rule.Settings(), context()) == [0.0, 1.0]


@pytest.mark.parametrize(
    ("answer_type", "answer", "said"),
    [("number", "3", "final"), ("count", "3", "final"), ("Yes/No", "yes", "final"), ("word", "red", "final"), ("multiple choice", "B", "final"), ("formula", "x+1", "math"),
     ("bbox", "[0,0,1,1]", "iou"), ("class", "red", "final"), ("exact", "red", "exact"), ("contains", "red", "contains"), ("free form", "red", "final"), (None, "red", "final")],
)  # fmt: skip
def test_the_rule_follows_from_the_answer_type(answer_type, answer, said):
    assert rule.kind_of(rows_of([], answer=answer, answer_type=answer_type).sample, rule.Settings()) == said


def test_a_whole_number_is_exact_by_default_and_a_share_off_where_the_recipe_says_so():
    assert judged("There are 41.", answer="42", answer_type="number").value == -1
    assert judged("There are 41.", answer="42", answer_type="number", settings={"tolerance": 0.05}).value == 0
    assert judged("There are 41.", answer="42", settings={"kind": "number"}).value == 0  # ChartQA's relaxed accuracy
    with pytest.raises(RowError, match="not a single number"):
        judged("3", answer="many", answer_type="number")


def test_labels_are_rivals():
    assert judged("She looks sad.", answer="sad", settings={"kind": "final", "labels": ["sad", "happy"]}).value == 0
    assert judged("She looks happy.", answer="sad", settings={"kind": "final", "labels": ["sad", "happy"]}).value == -1
    assert (
        judged("She looks happy, then sad.", answer="sad", settings={"kind": "final", "labels": ["sad", "happy"]}).value
        is None
    )


def test_settings_that_are_newer_than_the_keys_are_left_out_of_them():
    assert "loose" not in rule.digested(rule.Settings())
    assert rule.digested(rule.Settings(loose=True))["loose"] is True


def test_long_answers_cost_no_time():
    started = time.process_time()
    for text in (
        "not " * 25_000,
        "if " * 30_000,
        "42, " * 25_000,
        "so " * 30_000,
        '"' * 100_000,
        "because x " * 10_000,
        "answer: " * 12_000,
        "is it " * 16_000,
        "between 1 and " * 7_000,
    ):
        for known, question in (
            ("42", "How many books ?"),
            ("red box", "Which box is heavier ?"),
            ("yes", "Is it ?"),
            ("B", "A. x B. y"),
        ):
            rule.reward(rows_of([], question=question, answer=known).sample, [text], rule.Settings(), context())
            statement.contains(text, known)
    assert time.process_time() - started < 20  # a quadratic rule would take minutes
