"""The metrics of judges and evaluations in a run's summary, for the code that computes them and that shows them (console, report, card)."""

from typing import NamedTuple

READABLE = 0.95  # a judge whose parse rate is lower is named


class Figure(NamedTuple):
    """One metric, in 0..1 (`words` is a number of words): `name` is its key in the summary, `title` the heading of its row or column, `sentence` its definition."""

    name: str
    title: str
    sentence: str


JUDGE = (
    Figure("decided", "decided", "share of the pairs with a known better answer on which the judge prefers one"),
    Figure("agreement_with_people", "agreement with people", "share of the judge's preferences, on pairs judged by people, that match the majority"),
    Figure("consistency", "self-consistency", "share of the questions repeated in the same order that got the same verdict"),
    Figure("shown_first", "chose the first shown", "share of preferences for the answer that was shown before the other, in lists too"),
    Figure("contradicted", "position inconsistency", "share of the pairs judged in both orders on which the preferred answer changed"),
    Figure("longer", "length bias", "share of preferences for the answer with more words: a bias if higher than `longer is better`"),
    Figure("longer_truth", "longer is better", "how often the longer answer is the better one, where this is known"),
    Figure("equal_length", "agreement at equal length", "agreement with the truth on pairs whose lengths differ by at most a tenth"),
    Figure("own", "self-preference", "share of preferences for an answer of the judge's own model: a bias if higher than `own is better`"),
    Figure("own_truth", "own is better", "how often the answer of the judge's own model is the better one, where this is known"),
)  # fmt: skip

EVALUATION = (
    Figure("hallucination", "hallucination", "share of answers with a false claim; a malformed answer counts as one"),
    Figure("chair", "CHAIR", "false claims / claims (CHAIR_i of Rohrbach et al. 2018, over claims)"),
    Figure("recall", "recall", "mean share of the claims of a complete answer that are stated and true"),
    Figure("accuracy", "accuracy", "share of answers that are entirely true and complete"),
    Figure("yes_no_accuracy", "yes/no accuracy", "share of yes/no questions answered correctly (POPE, Li et al. 2023)"),
    Figure("yes_no_f1", "yes/no F1", "F1 of yes/no questions, positive class yes (POPE, Li et al. 2023)"),
    Figure("words", "words", "mean number of words of an answer"),
)  # fmt: skip

ROWS = (
    Figure("right", "right answers", "share of the answers that the rule judged right, of those that it judged"),
    Figure("words", "words", "mean number of words of an answer"),
)  # fmt: skip
"""of an evaluation on rows, which also has the mean of each other axis of its judge, under the name of the axis"""


def with_values(figures: tuple[Figure, ...], found: list[dict]) -> list[Figure]:
    """Those of `figures` that have a value in any of `found` (one dict per judge or evaluation); empty if `found` is."""
    return [figure for figure in figures if any(values.get(figure.name) for values in found)]
