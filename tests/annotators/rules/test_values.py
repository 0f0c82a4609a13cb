"""Pairs of answers and known answers, each derived by hand, compared both ways round."""

import time

import pytest

from annotators.rules import answers, sandbox, values
from schemas.errors import RowError

PAIRS = [
    # numbers
    ("3", "3", 1), ("3", "4", 0), ("3.0", "3", 1), ("+3", "3", 1), ("-3", "3", 0), ("minus three", "-3", 1), ("−3", "-3", 1), ("1,000", "1000", 1),
    ("1,000", "1.000", 0), ("0.50", ".5", 1), ("1/2", "0.5", 1), ("2/4", "1/2", 1), ("1 1/2", "1.5", 1), ("1/3", "0.33", 0), ("1e3", "1000", 1),
    ("2 million", "2,000,000", 1), ("$\\frac{1}{2}$", "1/2", 1), ("x = 3", "3", 1), ("three", "3", 1), ("twenty-one", "21", 1),
    ("two hundred and five", "205", 1), ("one two", "12", 0), ("thirteen", "30", 0), ("3.", "3", 1),
    # units: 1 kg is 1000 g; 1 h 3600 s; 5 m/s are 18 km/h; 68 °F are (68 - 32) * 5 / 9 = 20 °C; 1 in is 2.54 cm
    ("5 kg", "5 g", 0), ("5 kg", "5000 g", 1), ("5kg", "5 kilograms", 1), ("5 cm", "50 mm", 1), ("5 m", "5 cm", 0), ("5 m", "5 s", 0), ("1 h", "60 min", 1),
    ("90 minutes", "1.5 hours", 1), ("5 m/s", "18 km/h", 1), ("5 m", "5 m^2", 0), ("20 °C", "68 °F", 1), ("20 °C", "20 °F", 0), ("1 inch", "2.54 cm", 1),
    ("$5", "5 dollars", 1), ("$5", "5 €", 0), ("50 cents", "$0.50", 1), ("5 kg", "5", 1), ("90°", "90 degrees", 1), ("5 l", "5000 ml", 1), ("3 km", "3 miles", 0),
    # percentages
    ("50", "50 %", 0), ("50 %", "50%", 1), ("50 percent", "50\\%", 1), ("0.5", "50 %", 1), ("1/2", "50 %", 1), ("5 %", "0.5", 0), ("50 %", "50 kg", 0),
    # times: 3:45 pm is 15:45; 12 am is 0:00
    ("3", "3:45", 0), ("45", "3:45", 0), ("3:45", "3:45", 1), ("3:45", "3:54", 0), ("3:45 pm", "15:45", 1), ("3:45 am", "15:45", 0), ("3:45 PM", "3:45 p.m.", 1),
    ("3:45 am", "3:45 pm", 0), ("03:45", "3:45", 1), ("3:45:00", "3:45", 1), ("3 o'clock", "3:00", 1), ("12:00 am", "0:00", 1), ("3.45", "3:45", 0),
    # ratios: 4 : 2 is 2 : 1
    ("2:1", "4:2", 1), ("2:1", "1:2", 0), ("2 : 1", "2:1", 1), ("3 to 2", "3:2", 1), ("2:1", "2", 0), ("1:2:3", "2:4:6", 1), ("1:2:3", "1:2", 0),
    # sets have no order, pairs and intervals have
    ("{1, 2}", "{2, 1}", 1), ("1, 2", "2, 1", 1), ("1 and 2", "{1, 2}", 1), ("{1, 2}", "{1, 2, 3}", 0), ("{1, 2}", "{1, 3}", 0), ("(1, 2)", "(2, 1)", 0),
    ("(1, 2)", "(1, 2.0)", 1), ("[1, 2)", "[1, 2]", 0), ("[1, 2)", "[1, 2)", 1), ("(1, 2)", "{1, 2}", 0), ("1, 2", "12", 0), ("{1/2, 3}", "{3, 0.5}", 1),
    # expressions
    ("3x+2", "3x+2", 1), ("3x + 2", "3x+2", 1), ("3x+2", "3x-2", 0), ("3x+2", "2", 0), ("2+3x", "3x+2", 1), ("x^2+2x+1", "(x+1)^2", 1), ("2*x", "x*2", 1),
    ("2^10", "1024", 1), ("10^-3", "0.001", 1), ("sqrt(2)", "\\sqrt{2}", 1), ("pi", "\\pi", 1), ("3.14", "\\pi", 0), ("x > 2", "2 < x", 1), ("x > 2", "x < 2", 0), ("2**3", "8", 1), ("2**3", "23", 0), ("**3**", "3", 1),
    # words
    ("red", "red", 1), ("red", "blue", 0),
]  # fmt: skip


@pytest.fixture(scope="module")
def mathematics():
    sandbox.worker.ask("mathematics", "1", "1", seconds=120)  # math-verify is imported
    return lambda text, answer: sandbox.worker.ask("mathematics", text, answer, seconds=60).value


@pytest.mark.parametrize(("one", "other", "same"), PAIRS)
def test_both_sides_are_read_by_one_parser(mathematics, one, other, same):
    assert mathematics(one, other) == mathematics(other, one) == same


@pytest.mark.parametrize(("one", "other", "same"), PAIRS)
def test_equal_words_are_equal_values_where_both_are_values(one, other, same):
    if all(
        isinstance(values.value_of(side), values.Quantity | values.Clock | values.Ratio | values.Group)
        for side in (one, other)
    ):
        assert answers.normalised(one, other).value == answers.normalised(other, one).value == same
    if one == other:
        assert answers.normalised(one, other).value == 1


@pytest.mark.parametrize(("one", "other", "same"), PAIRS)
def test_a_number_is_compared_as_what_it_is(one, other, same):
    if all(isinstance(values.value_of(side), values.Quantity | values.Clock | values.Ratio) for side in (one, other)):
        assert answers.number(one, other, 0).value == answers.number(other, one, 0).value == same


@pytest.mark.parametrize(
    ("text", "answer", "right"),
    [
        ("The mug weighs 5 kg.", "5 g", 0), ("The mug weighs 5 kg.", "5000 g", 1), ("It is 3:45 now.", "3:45", 1), ("At 3:45 there are three.", "3", 1),
        ("It is half past three.", "3:45", 0), ("About 50 % of them", "50", 0), ("About 50 % of them", "0.5", 1), ("There are 3 in the bowl", "3", 1),
        ("From 2:1 to 4:2", "2:1", 1), ("Answer: 5 kg or 6 kg", "5 kg", 0), ("Answer: 5 kg, so 5000 g", "5 kg", 1), ("three dogs", "3", 1),
    ],
)  # fmt: skip
def test_in_a_sentence_the_last_value_counts(text, answer, right):
    assert answers.number(text, answer, 0).value == right


def test_a_share_of_error_is_of_the_right_number_in_its_unit():
    # 5 % of 100 g is 5 g: 0.105 kg is right, 106 g is not
    assert answers.number("0.105 kg", "100 g", 0.05).value == 1
    assert answers.number("106 g", "100 g", 0.05).value == 0


@pytest.mark.parametrize("known", ["3x+2", "{1, 2}", "1 or 2", "many", ""])
def test_what_is_not_one_number_is_a_bad_known_answer(known):
    with pytest.raises(RowError, match="not a single number"):
        answers.number("3", known, 0)


@pytest.mark.parametrize(
    "flood",
    [
        "1",
        "1,",
        "1:",
        "1/",
        "one ",
        "hundred ",
        "(",
        "{1,",
        "$",
        "-",
        "1 kg ",
        "3:45 ",
        "1e9",
        "\\frac{1}{2}",
        " ",
        ".",
        "x=",
    ],
)
def test_any_text_is_read_in_linear_time(flood):
    text = flood * (300_000 // len(flood))
    started = time.process_time()
    values.value_of(text)
    values.values_in(text)
    assert time.process_time() - started < 15
