import pytest

from flows.runs import stream
from pipeline.pair import _scores, best_worst, judged
from schemas import records
from schemas.operator import SampleRows
from schemas.records import Finding, Outcome, Pair, Provenance, Rejection, judgement
from tests.support.rows import context, rows_of


def rows_with(
    *verdicts: tuple[str, str, float | None, float | None], texts: str = "abcd", outcome: str = Outcome.VERDICT
) -> SampleRows:
    """Answers `texts`, and for each (first, second, prob, value) a score on the two answers."""
    rows = rows_of(list(texts))
    named = {c.text: c.id for c in rows.candidates}
    rows.judgements = [
        judgement(
            rows.sample.id, "consensus", "pair", (named[a], named[b]), "score",
            Finding(Outcome.ABSTAIN if prob is None else outcome, value, prob), Provenance("consensus.majority"),
        )
        for a, b, prob, value in verdicts
    ]  # fmt: skip
    return rows


def made(rows: SampleRows, **settings) -> list[Pair | Rejection]:
    return judged.pair(rows, judged.Settings(**settings), context("judged"))


def test_each_judged_pair_is_laid_the_way_round_it_was_found():
    rows = rows_with(("a", "b", 0.9, 1.6), ("a", "c", 0.25, -0.5))
    first, second = made(rows)
    assert (first.chosen, first.rejected, second.chosen, second.rejected) == ("a", "b", "c", "a")
    assert (first.margin, first.confidence, first.soft_label) == (1.6, 0.9, 0.9)
    assert (second.margin, second.confidence, second.soft_label) == (0.5, 0.75, 0.75)
    assert [p.judgements for p in (first, second)] == [(s.id,) for s in rows.judgements]


@pytest.mark.parametrize(
    ("prob", "outcome", "texts", "settings", "reason"),
    [
        (0.5, Outcome.TIE, "ab", {}, "no_margin"),
        (0.7, Outcome.TIE, "ab", {}, "no_margin"),
        (0.5, Outcome.VERDICT, "ab", {}, "no_margin"),
        (0.79, Outcome.VERDICT, "ab", {"min_confidence": 0.8}, "no_margin"),
        (None, Outcome.VERDICT, "ab", {}, "no_verdict"),
    ],
)
def test_ties_and_unsure_verdicts_are_no_pair(prob, outcome, texts, settings, reason):
    rows = rows_with(("a", "b", prob, None if prob is None else 0.1), texts=texts, outcome=outcome)
    (note,) = made(rows, **settings)
    assert isinstance(note, Rejection)
    assert (note.id, note.table, note.reason) == (rows.judgements[0].id, "pairs", reason)


def test_equal_texts_are_no_pair_and_nothing_judged_is_said_once():
    rows = rows_of(["a", "a"])
    rows.judgements = [
        judgement(
            rows.sample.id,
            "c",
            "pair",
            tuple(c.id for c in rows.candidates),
            "score",
            Finding(Outcome.VERDICT, 1.0, 0.9),
        )
    ]
    assert [n.reason for n in made(rows)] == ["equal_answers"]
    rows.judgements = []
    assert [(n.reason, n.id) for n in made(rows)] == [("no_verdict", rows.sample.id)]
    assert made(rows)[0].detail == "no pair of answers has a score; put score.consensus before this step"


def live(rows: SampleRows, chosen: str, rejected: str) -> Pair:
    named = {c.text: c for c in rows.candidates}
    row = records.pair(rows.sample.id, "pair", named[chosen], named[rejected])
    rows.pairs.append(row)
    return row


def test_a_live_pair_of_the_same_answers_is_superseded_whichever_way_round():
    rows = rows_with(("a", "b", 0.9, 1.0), ("c", "d", 0.9, 1.0))
    same, turned = live(rows, "a", "b"), live(rows, "d", "c")
    found = made(rows)
    gone = [r for r in found if isinstance(r, Rejection)]
    assert [(r.id, r.reason) for r in gone] == [(same.id, "superseded"), (turned.id, "superseded")]
    assert {(p.chosen, p.rejected) for p in found if isinstance(p, Pair)} == {("a", "b"), ("c", "d")}
    stream._collect(found, rows, [])
    assert [p.step for p in rows.pairs] == ["judged", "judged"]


def test_a_tie_ends_a_live_pair_and_silence_leaves_it():
    rows = rows_with(("a", "b", 0.5, 0.0), ("c", "d", None, None))
    tied, kept = live(rows, "a", "b"), live(rows, "c", "d")
    (note,) = made(rows)
    assert (note.id, note.reason) == (tied.id, "no_margin")
    stream._collect([note], rows, [])
    assert rows.pairs == [kept]


def test_of_several_scores_on_a_pair_the_latest_counts():
    rows = rows_with(("a", "b", 0.9, 1.0), ("b", "a", 0.8, 1.0))
    (pair,) = made(rows)
    assert (pair.chosen, pair.confidence) == ("b", 0.8)


def test_scores_on_pairs_are_no_scores_of_answers():
    rows = rows_with(("a", "b", 0.9, 9.0))
    assert _scores.scored_candidates(rows, "score") == []
    assert [n.reason for n in best_worst.pair(rows, best_worst.Settings(), context())] == ["no_verdict"]
    rows.judgements.insert(
        0, judgement(rows.sample.id, "s", "candidate", (rows.candidates[2].id,), "score", Finding(Outcome.VERDICT, 1.0))
    )
    assert [c.text for c in stream._selected("best", rows, rows)] == ["c"]
