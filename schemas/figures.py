"""The figures of judges and evaluations in a run's summary: whoever computes them and whoever shows them (console, report, card) reads them here."""

from typing import NamedTuple


class Figure(NamedTuple):
    """One figure. `name` is its key in the summary, `title` heads its row or column, `sentence` says what it is; all in 0..1."""

    name: str
    title: str
    sentence: str


JUDGE = (
    Figure("decided", "decided", "of the pairs whose better answer is known, those on which the judge prefers one"),
    Figure("agreement_with_people", "agreement with people", "of the judge's preferences on pairs that people judged, those that most people share"),
    Figure("consistency", "self-consistency", "of the questions asked again the same way round, those answered the same"),
    Figure("shown_first", "chose the first shown", "share of preferences for the answer that was shown first"),
    Figure("contradicted", "position inconsistency", "of the pairs asked in both orders, those on which the preferred answer changed"),
    Figure("longer", "length bias", "share of preferences for the answer with more words: a bias where the truth is not as often longer"),
    Figure("longer_truth", "longer is better", "how often the longer answer is the better one, where this is known"),
    Figure("equal_length", "agreement at equal length", "agreement with the truth on pairs whose lengths differ by at most a tenth"),
    Figure("own", "self-preference", "share of preferences for an answer of the judge's own model: a bias where the truth is not as often its own"),
    Figure("own_truth", "own is better", "how often the answer of the judge's own model is the better one, where this is known"),
)  # fmt: skip

EVALUATION = (
    Figure("hallucination", "hallucination", "share of answers with a false claim; a malformed answer counts as one"),
    Figure("chair", "CHAIR", "false claims / claims (CHAIR_i of Rohrbach et al. 2018, over claims)"),
    Figure("recall", "recall", "mean share of what a complete answer states that is stated and true"),
    Figure("accuracy", "accuracy", "share of answers that are wholly true and complete"),
    Figure("yes_no_accuracy", "yes/no accuracy", "share of yes/no questions answered right (POPE, Li et al. 2023)"),
    Figure("yes_no_f1", "yes/no F1", "F1 of yes/no questions, positive class yes (POPE, Li et al. 2023)"),
)  # fmt: skip


def known(figures: tuple[Figure, ...], found: list[dict]) -> list[Figure]:
    """Those of `figures` that any of `found` (one judge's, or one evaluation's, each) has a value of; none of none."""
    return [figure for figure in figures if any(of.get(figure.name) for of in found)]
