import json
import math
import signal
import time

import pytest

from annotators.judge import _parse
from annotators.judge._reply import MOST
from annotators.split._list import list_items
from schemas.records import Outcome, Span

TIE, VERDICT, LOST = Outcome.TIE, Outcome.VERDICT, Outcome.UNPARSABLE
FLOODS = [
    "[[1]]", "[[1]] or ", "[[", "<<<", '"', "'", "```a", "> ", "{", '{"a":', "{}", "[1]\n", "“", "1 > ", " ", "\n", "I'm ", "Verdict: 1\n", "so answer one ",
    "answer one is better, ", "the ", "A ", "Answer 1: 4\n", "| a |\n", "**", "回答1更好", "\\boxed{", "<answer>", "<quote>", "- a\n", "a: b\n", "/*", "cannot ", "9",
]  # fmt: skip
RATED = "Answer 1: 4 points, answer 2: 2 points, "
CIRCLES = [("", flood) for flood in FLOODS] + [
    ("", "1, "), ("", "2   "), ("", "I'm afraid, but "), ("", "as a big model "), ("", "而是"), ("", "但是"), (RATED, "ok: :( "), (RATED, "and, "),
]  # fmt: skip
HOPELESS = [
    "",
    " \n\t ",
    "...",
    "Die erste Antwort gefällt mir.",
    "最初の方が良い。",
    "NaN",
    "[[NaN]]",
    "[[]]",
    "[[9]]",
    "11/10",
    "\0\ud800",
    "one two",
]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("[[1]]", 1.0),
        ("[[ 2 ]]", -1.0),
        ("[[One]]", 1.0),
        ("[[Answer two]]", -1.0),
        ("[[B]]", -1.0),
        ("[[tie]]", 0.0),
        ("[[C]]", 0.0),
        ("one", 1.0),
        (" Two.\n", -1.0),
        ("**Tie**", 0.0),
        ("Answer one is better.", 1.0),
        ("The first names a dog that is not there.\n\nVerdict: two", -1.0),
        ("Both see the cup.\nThe final verdict is: [[1]]", 1.0),
        ("[[2]] because it is right. So: [[two]]", -1.0),
    ],
)
def test_a_preference_is_read_however_it_is_written(text, value):
    assert _parse.preference(text) == (VERDICT if value else TIE, value)


@pytest.mark.parametrize(
    "text",
    [
        "[[1]] or [[2]]",
        "one\ntwo",
        "Verdict: one\nVerdict: two",
        "[[1]] ... [[banana]]",
        'Answer two says "[[2]]", which is no verdict of mine.',
        "It holds <<<\nVerdict: [[2]]\n>>> and nothing else.",
        "```\n[[1]]\n```",
        "> [[1]]",
        "“[[1]]”",
        "I like one of them more than the other one",
        "I think that [[1",
        "So:\n[[1",
    ],
)
def test_two_verdicts_or_a_quoted_one_are_none(text):
    assert _parse.preference(text) == (LOST, None)


def test_what_is_quoted_beside_the_verdict_does_not_count():
    said = 'Answer two tries "[[2]]" and `[[2]]`:\n> [[2]]\n<<<\n[[2]]\n>>>\nIt is worse. [[1]]'
    assert _parse.preference(said) == (VERDICT, 1.0)


def test_a_tie_that_was_not_allowed_cannot_be_read():
    assert _parse.preference("[[tie]]", tie=False) == (LOST, None)
    assert _parse.preference("tie", tie=False) == (LOST, None)
    assert _parse.strength("4", tie=False) == (LOST, None)


@pytest.mark.parametrize(("text", "value"), [("1", 3.0), ("[[4]]", 0.0), ("So: [[7]]", -3.0), ("Rating: 6", -2.0)])
def test_seven_steps_lie_around_a_tie(text, value):
    assert _parse.strength(text) == (VERDICT if value else TIE, value)


@pytest.mark.parametrize("text", ["0", "8", "[[0]]", "3.5", "[[3.5]]", "3 or 4", "[[3]] [[4]]", "-1", "7/10"])
def test_a_strength_off_the_scale_is_none(text):
    assert _parse.strength(text) == (LOST, None)


@pytest.mark.parametrize(
    "text", ["I'm sorry, but I can't help with that.", "I cannot assist with this.", "As an AI model I do not judge.", "Sorry.", "I won’t do that"]
)  # fmt: skip
def test_a_refusal_is_no_verdict(text):
    for said in all_of(text):
        assert said == (Outcome.REFUSED, None)


def test_who_abstains_has_said_so():
    assert _parse.preference("Nothing to go by. [[abstain]]") == (Outcome.ABSTAIN, None)
    for said in all_of("Cannot decide."):
        assert said == (Outcome.ABSTAIN, None)


def test_a_refusal_in_an_answer_that_is_quoted_is_not_the_judges():
    assert _parse.preference("I'm sorry to say that both are poor. [[2]]") == (VERDICT, -1.0)


def all_of(text: str):
    return (
        _parse.preference(text),
        _parse.strength(text),
        _parse.ratings(text, ("ratings",), 2, 1, 5),
        _parse.ranking(text, 2),
        _parse.error_spans(text, "a red cup", ("object",), 4),
    )


@pytest.mark.parametrize("text", HOPELESS)
def test_hopeless_replies_are_unparsable_to_every_parser(text):
    for said in all_of(text):
        assert said == (LOST, None)


def every_reading_of(text: str):
    return (*all_of(text), _parse.ratings(text, ("a", "b"), 1, 1, 5), list_items(text))


@pytest.fixture
def two_seconds():
    """TimeoutError after two seconds of CPU time, in a regular expression too."""

    def late(*_):
        raise TimeoutError("two seconds of CPU time have passed")

    before = signal.signal(signal.SIGVTALRM, late)
    signal.setitimer(signal.ITIMER_VIRTUAL, 2)
    yield
    signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    signal.signal(signal.SIGVTALRM, before)


@pytest.mark.parametrize(("head", "circle"), CIRCLES)
def test_a_short_reply_that_runs_in_circles_is_read_at_once(head, circle, two_seconds):
    """In sentences of up to 400 characters every expression is tried; one that reads a repetition in two ways takes 2 ** n steps."""
    for size in (20, 60, 130, 390):
        every_reading_of(head + circle * ((size - len(head)) // len(circle)) + "~")
    every_reading_of("\n".join(head + circle * (300 // len(circle)) + end for end in ("", "!")))


@pytest.mark.parametrize("flood", FLOODS)
def test_a_reply_that_runs_in_circles_is_read_in_linear_time(flood):
    """Four times the length takes some four times as long (2.7 to 5.4 were measured); sixteen times would be quadratic."""

    def seconds(size: int) -> float:
        text = flood * (size // len(flood))
        started = time.process_time()
        said = every_reading_of(text)
        taken = time.process_time() - started
        assert {r.outcome for r in said} <= {LOST, Outcome.REFUSED, Outcome.ABSTAIN, VERDICT}
        return taken

    seconds(100)  # what is compiled or looked up once
    assert seconds(32_000) < 9 * seconds(8_000) + 0.05


def test_a_reply_that_is_longer_than_any_is_not_read():
    assert _parse.preference("[[1]]\n" * (MOST // 6)).outcome == VERDICT
    assert _parse.preference("[[1]]\n" * (MOST // 6 + 1)).outcome == LOST


def test_first_tokens_are_weighed_among_the_choices():
    # of .6 + .1 for one, .2 for two and .1 for a tie: p(first) = .7 + .1 / 2
    logs = [math.log(p) for p in (0.06, 0.01, 0.02)]
    assert _parse.verdict_from_logprobs((*logs, None, math.log(0.01)), (1, 1, -1, -1, 0)) == ((VERDICT, 1), 0.75)
    # strengths 3 .1, 1 .3, 0 .2, -2 .4: p(first) = .4 + .2 / 2, though the likeliest step says the second
    assert _parse.verdict_from_logprobs([math.log(p) for p in (0.1, 0.3, 0.2, 0.4)], (3, 1, 0, -2)) == (
        (VERDICT, -2),
        0.5,
    )
    assert _parse.verdict_from_logprobs((-1.0, -2.0, -0.5), (1, -1, 0))[0] == (TIE, 0)
    assert _parse.verdict_from_logprobs((None, None), (1, -1)) == ((LOST, None), None)
    assert _parse.verdict_from_logprobs((-1.0, -1.0), (1, -1)) == ((Outcome.ABSTAIN, None), 0.5)


def test_ratings_may_stand_anywhere_but_only_once():
    axes = ("help", "truth")
    said = '{"help": [4, 2], "truth": [5, 1], "rationale": "{it} says {\\"help\\": [1, 1]}"}'
    for text in (said, f"Sure!\n```json\n{said}\n```", f"<<<\n{said}\n>>> was quoted. Mine: {said}"):
        assert _parse.ratings(text, axes, 2, 1, 5) == (VERDICT, {"help": (4.0, 2.0), "truth": (5.0, 1.0)})
    for text in (
        f"{said} or rather {said}",
        f"<<<\n{said}\n>>>",
        said[:-2],
        '{"help": [4, 2]}',
        '{"help": [4, 2], "help": [2, 4], "truth": [5, 1]}',
    ):
        assert _parse.ratings(text, axes, 2, 1, 5) == (LOST, None)


@pytest.mark.parametrize(
    "given", ["[4]", "[4, 6]", "[4, 0]", "[4, 2.5]", "[4, true]", "[4, NaN]", '[4, "two"]', "[4, null]", "4", "[4, 2, 3]", "[4, 1e9]", "[11, 10]"]
)  # fmt: skip
def test_ratings_off_the_scale_are_never_bent_onto_it(given):
    assert _parse.ratings(f'{{"ratings": {given}}}', ("ratings",), 2, 1, 5) == (LOST, None)


def test_a_ranking_is_a_permutation_or_nothing():
    for text in (
        '{"ranking": [2, 3, 1]}',
        '{"ranking": [2, "3", 1]}',
        "2 > 3 > 1",
        "The second is best.\n**2 > 3 > 1**.",
    ):
        assert _parse.ranking(text, 3) == (VERDICT, (1, 2, 0))
    for text in (
        '{"ranking": [2, 3]}', '{"ranking": [2, 2, 1]}', '{"ranking": [0, 1, 2]}', '{"ranking": [2, 3, 4]}', '{"ranking": [2, "x", 1]}',
        '{"ranking": null}', "2 > 3", "2 > 3 > 1\n1 > 2 > 3", "2 > 3 > 1 > 1", "<<<\n2 > 3 > 1\n>>>", '{"ranking": [1, 2, 3]}\n2 > 3 > 1', '{"ranking": [1, 2, 3]} {"ranking": [1, 3, 2]}\n2 > 3 > 1',
    ):  # fmt: skip
        assert _parse.ranking(text, 3) == (LOST, None)


def fault(text, kind="object", severity=2, correction="a blue cup"):
    return json.dumps({"text": text, "class": kind, "severity": severity, "correction": correction})


def marked(*given, answer="a red cup , a red cup and a dog"):
    return _parse.error_spans(f'Here: {{"faults": [{", ".join(given)}]}}', answer, ("object", "relation"), 4)


def test_faults_are_found_by_their_words():
    assert marked() == (VERDICT, ())
    # "a red cup" stands at 0 to 9 and at 12 to 21, "dog" at 28 to 31
    found = marked(fault("dog", "relation", 4, None), fault("a red cup"), fault("a red cup", severity=1, correction=""))
    assert found.value == (
        Span(0, 9, None, "object", 2.0, "a blue cup"), Span(12, 21, None, "object", 1.0, None), Span(28, 31, None, "relation", 4.0, None),
    )  # fmt: skip


@pytest.mark.parametrize(
    "given",
    [fault("a cat"), fault("a blue cup"), fault(""), fault("dog", "beauty"), fault("dog", severity=0), fault("dog", severity=5), fault("dog", severity=1.5),
     fault("dog", correction=[]), fault("dog", kind=["object"]), '"dog"', "null", '{"text": "dog"}'],
)  # fmt: skip
def test_a_fault_that_is_not_in_the_answer_or_of_no_known_kind_cannot_be_read(given):
    assert marked(given) == (LOST, None)
    assert marked(fault("a red cup"), given) == (LOST, None)


def test_more_equal_stretches_than_there_are_cannot_be_read():
    assert marked(fault("dog"), fault("dog")) == (LOST, None)
