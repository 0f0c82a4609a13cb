import pytest

from pipeline.pair import all_pairs, best_worst, fixed_role, right_wrong, with_parent
from pipeline.pair import judged as pair_judged
from schemas.records import Finding, Outcome, Pair, Rejection, judgement
from tests.support.rows import context, rows_of


def texts(found) -> list[tuple[str, str]]:
    return [(p.chosen, p.rejected) for p in found if isinstance(p, Pair)]


def test_best_worst_takes_the_extremes_and_says_why():
    rows = rows_of(["a", "b", "c"], [-1.0, 0.0, -3.0])
    (pair,) = best_worst.pair(rows, best_worst.Settings(), context())
    assert (pair.chosen, pair.rejected, pair.margin) == ("b", "c", 3.0)
    assert (pair.reward_chosen, pair.reward_rejected) == (0.0, -3.0)
    assert pair.judgements == (rows.judgements[1].id, rows.judgements[2].id)


def test_among_equals_the_most_frequent_text_wins():
    rows = rows_of(["once", "often", "often", "bad", "worse", "worse"], [0, 0, 0, -2, -2, -2])
    (pair,) = best_worst.pair(rows, best_worst.Settings(), context())
    assert (pair.chosen, pair.rejected) == ("often", "worse")


@pytest.mark.parametrize(
    ("answers", "scores", "reason"),
    [
        (["a", "b"], [0.0, 0.0], "no_margin"),
        (["a", "b"], [0.0, -0.5], "no_margin"),
        (["a", "a"], [0.0, -1.0], "equal_answers"),
        (["a", "b"], [0.0, None], "no_verdict"),
        (["a"], [0.0], "no_verdict"),
        ([], [], "no_verdict"),
    ],
)
@pytest.mark.parametrize("rule", [best_worst, all_pairs])
def test_no_pair_without_a_margin_two_texts_and_two_verdicts(rule, answers, scores, reason):
    (note,) = rule.pair(rows_of(answers, scores), rule.Settings(), context())
    assert isinstance(note, Rejection)
    assert note.table == "pairs"
    if rule is best_worst or reason == "no_verdict":
        assert note.reason == reason


def test_equal_scores_make_no_pair_even_without_a_margin():
    rows = rows_of(["a", "b"], [1.0, 1.0])
    assert texts(best_worst.pair(rows, best_worst.Settings(min_margin=0), context())) == []
    assert texts(all_pairs.pair(rows, all_pairs.Settings(min_margin=0), context())) == []


def test_all_pairs_takes_every_two_that_differ_enough_once():
    # scores 0, -1, -2, and the text of the second again: pairs (a,b) (a,c) (b,c), the twin adds none
    rows = rows_of(["a", "b", "c", "b"], [0.0, -1.0, -2.0, -1.0])
    assert texts(all_pairs.pair(rows, all_pairs.Settings(), context())) == [("a", "b"), ("a", "c"), ("b", "c")]
    assert texts(all_pairs.pair(rows, all_pairs.Settings(min_margin=2), context())) == [("a", "c")]


def test_the_cap_draws_the_same_pairs_each_time_and_names_those_left_out():
    rows = rows_of(list("abcd"), [0.0, -1.0, -2.0, -3.0])  # 6 pairs
    found = all_pairs.pair(rows, all_pairs.Settings(per_prompt=2), context())
    assert found == all_pairs.pair(rows, all_pairs.Settings(per_prompt=2), context())
    dropped = [r.id for r in found if isinstance(r, Rejection)]
    kept = [p.id for p in found if isinstance(p, Pair) and p.id not in dropped]
    assert (len(kept), len(dropped)) == (2, 4)
    other = all_pairs.pair(rows, all_pairs.Settings(per_prompt=2, seed=1), context())
    assert found != other


def with_roles(*answers: tuple[str, str | None]):
    rows = rows_of([text for text, _ in answers])
    rows.candidates = [c._replace(role=role) for c, (_, role) in zip(rows.candidates, answers, strict=True)]
    return rows


def test_roles_make_pairs_without_a_judgement():
    rows = with_roles(
        ("a", "chosen"), ("b", "rejected"), ("a", "rejected"), ("c", None), ("d", "rejected"), ("b", "rejected")
    )
    found = fixed_role.pair(rows, fixed_role.Settings(), context())
    assert texts(found) == [("a", "b"), ("a", "d")]
    assert all(p.margin is None and p.judgements == () for p in found)
    capped = fixed_role.pair(rows, fixed_role.Settings(per_prompt=1), context())
    assert [getattr(r, "reason", "pair") for r in capped].count("over_cap") == 1


def test_roles_that_make_no_pair_say_why():
    (one_sided,) = fixed_role.pair(with_roles(("a", "chosen"), ("b", None)), fixed_role.Settings(), context())
    assert (one_sided.reason, one_sided.detail) == ("no_verdict", "no answer is rejected")
    (equal,) = fixed_role.pair(with_roles(("a", "chosen"), (" a", "rejected")), fixed_role.Settings(), context())
    assert equal.reason == "equal_answers"


def test_right_against_wrong_but_not_where_the_right_one_stands_inside():
    rows = rows_of(["cup", "a hat", "a cup it is", "cat", "cup"], [0.0, -1.0, -1.0, -2.0, 0.0])
    for slip in rows.judgements:
        assert slip.axis == "score"
    found = right_wrong.pair(rows, right_wrong.Settings(axis="score"), context())
    assert texts(found) == [("cup", "a hat"), ("cup", "cat")]
    assert [p.margin for p in found] == [1.0, 2.0]
    (inside,) = right_wrong.pair(rows_of(["cup", "a cup"], [0.0, -1.0]), right_wrong.Settings(axis="score"), context())
    assert inside.reason == "equal_answers"
    (all_right,) = right_wrong.pair(rows_of(["a", "b"], [0.0, 0.0]), right_wrong.Settings(axis="score"), context())
    assert (all_right.reason, all_right.detail) == ("no_margin", "2 right and 0 wrong answers of 2")
    (untold,) = right_wrong.pair(rows_of(["a", "b"], [None, None]), right_wrong.Settings(axis="score"), context())
    assert untold.reason == "no_verdict"


@pytest.mark.parametrize("other", ["a dog ", "\na dog", "a  dog", "a\ndog", "a\u00a0dog"])
def test_texts_that_differ_in_white_space_only_are_no_pair_in_any_rule(other):
    rows = rows_of(["a dog", other], [0.0, -1.0])
    for rule in (best_worst, all_pairs):
        assert texts(rule.pair(rows, rule.Settings(), context())) == []
    rows.judgements = [j._replace(axis="truth") for j in rows.judgements]
    (note,) = right_wrong.pair(rows, right_wrong.Settings(), context())
    assert note.reason == "equal_answers"
    rows.candidates = [c._replace(role=role) for c, role in zip(rows.candidates, ("chosen", "rejected"), strict=True)]
    (note,) = fixed_role.pair(rows, fixed_role.Settings(), context())
    assert note.reason == "equal_answers"
    first, second = rows.candidates
    rows.candidates = [first, second._replace(parent=first.id)]
    (note,) = with_parent.pair(rows, with_parent.Settings(), context())
    assert note.reason == "equal_answers"
    judged = Finding(Outcome.VERDICT, 1.0, 0.9)
    rows.judgements = [judgement(rows.sample.id, "s", "pair", (first.id, second.id), "score", judged)]
    (note,) = pair_judged.pair(rows, pair_judged.Settings(), context())
    assert note.reason == "equal_answers"


def test_a_pair_of_texts_is_made_once_however_they_are_spaced():
    rows = rows_of(["a", "b", "a ", " b"], [0.0, -1.0, 0.0, -1.0])
    assert texts(all_pairs.pair(rows, all_pairs.Settings(), context())) == [("a", "b")]
    # `often` twice, once with a line break: two of three
    rows = rows_of(["once", "often", "often\n", "bad"], [0, 0, 0, -2])
    assert texts(best_worst.pair(rows, best_worst.Settings(), context())) == [("often", "bad")]
