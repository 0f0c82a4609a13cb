import json

import pytest
from pydantic import ValidationError

from pipeline.pair import with_parent
from schemas.operator import SampleRows
from schemas.records import Finding, Outcome, Pair, Provenance, Rejection, Span, candidate, judgement
from tests.support.rows import context, rows_of


def edited(rows: SampleRows, text: str, who: str, spans: list | None = None, of: int = 0) -> None:
    """`who` rewrites an answer and marks its faults."""
    original = rows.candidates[of]
    rows.candidates.append(candidate(rows.sample.id, "people", text, model=who, parent=original.id))
    raw = {"seconds": 9.5} | ({"spans": spans} if spans is not None else {})
    rows.judgements.append(
        judgement(
            rows.sample.id, "people", "candidate", (original.id,), "faults",
            Finding(Outcome.VERDICT, -float(len(spans or ())), raw=json.dumps(raw)), Provenance(who),
        )
    )  # fmt: skip


def made(rows: SampleRows, **settings) -> list[Pair | Rejection]:
    return with_parent.pair(rows, with_parent.Settings(**settings), context())


def test_an_edit_is_better_than_its_original_which_carries_the_marked_spans():
    rows = rows_of(["two dogs", "a cat"])
    edited(rows, "one dog", "person:1", [[0, 3, "count", None, "one"], [4, 8, "object", 2.0, None]])
    (pair,) = made(rows)
    assert (pair.chosen, pair.rejected) == ("one dog", "two dogs")
    assert (pair.chosen_id, pair.rejected_id) == (rows.candidates[2].id, rows.candidates[0].id)
    assert pair.rejected_spans == (
        Span(0, 3, label="count", correction="one"), Span(4, 8, label="object", severity=2.0)
    )  # fmt: skip
    assert pair.judgements == (rows.judgements[0].id,)
    assert (pair.generator_chosen, pair.generator_rejected) == ("person:1", None)


def test_each_editor_has_the_spans_they_marked():
    rows = rows_of(["two dogs"])
    edited(rows, "one dog", "person:1", [[0, 3, "count", None, "one"]])
    edited(rows, "two cats", "person:2", [[4, 8, "object", None, "cats"]])
    edited(rows, "one cat", "person:3")
    assert [p.rejected_spans and p.rejected_spans[0].label for p in made(rows)] == ["count", "object", None]


def test_equal_texts_are_no_pair():
    rows = rows_of(["two dogs"])
    for text in ("two dogs", "one dog", "one dog"):
        edited(rows, text, f"person:{len(rows.candidates)}")
    found = made(rows)
    assert [p.chosen for p in found if isinstance(p, Pair)] == ["one dog"]
    gone = [(r.id, r.reason) for r in found if isinstance(r, Rejection)]
    assert gone == [(rows.candidates[1].id, "equal_answers"), (rows.candidates[3].id, "equal_answers")]


def test_the_cap_is_for_each_parent_and_drawn_by_the_seed():
    rows = rows_of(["first", "second"])
    for of in (0, 1):
        for i in range(5):
            edited(rows, f"{of} edit {i}", f"person:{i}", of=of)

    def kept(**settings) -> list[str]:
        found = made(rows, per_parent=2, **settings)
        gone = {r.id for r in found if isinstance(r, Rejection) and r.reason == "over_cap"}
        return [p.chosen for p in found if isinstance(p, Pair) and p.id not in gone]

    assert [text[0] for text in kept()] == ["0", "0", "1", "1"]
    assert kept() == kept()
    assert len({tuple(kept(seed=seed)) for seed in range(8)}) > 1


def test_an_edit_of_an_answer_that_is_gone_or_none_at_all_makes_no_pair():
    rows = rows_of(["two dogs", "a cat"])
    edited(rows, "one dog", "person:1")
    del rows.candidates[0]
    assert [(n.reason, n.id) for n in made(rows)] == [("no_verdict", rows.sample.id)]


def test_what_its_maker_calls_rejected_is_worse_than_what_it_was_made_from():
    rows = rows_of(["two dogs"])
    (original,) = rows.candidates
    rows.candidates.append(
        candidate(
            rows.sample.id, "blind", "two dogs and a cow", role="rejected", model="small", seed=5, parent=original.id
        )
    )
    (pair,) = made(rows)
    assert (pair.chosen, pair.rejected) == ("two dogs", "two dogs and a cow")
    assert (pair.chosen_id, pair.generator_rejected, pair.seed) == (original.id, "small", 5)
    assert (pair.rejected_spans, pair.judgements) == (None, ())


def test_marks_are_faults_of_the_original_with_words():
    """Another axis, another answer or a mark without words says nothing of the original's spans."""
    rows = rows_of(["two dogs", "a cat"])
    first, second = rows.candidates
    edited(rows, "one dog", "person:1", [[0, 3, "count", None, "one"]])
    mark = rows.judgements[0]
    raw = json.dumps({"spans": [[1, 2, "wrong", None, None]]})
    for target, axis, words in ((first, "safe", raw), (second, "faults", raw), (first, "faults", None)):
        of = (rows.sample.id, "people", "candidate", (target.id,), axis, Finding(Outcome.VERDICT, -1.0, raw=words))
        rows.judgements.append(judgement(*of, Provenance("person:1")))
    (pair,) = made(rows)
    assert pair.rejected_spans == (Span(0, 3, label="count", correction="one"),)
    assert pair.judgements == (mark.id,)


def test_an_editor_without_marks_has_those_of_the_only_one_who_marked():
    rows = rows_of(["two dogs"])
    edited(rows, "one dog", "person:1", [[0, 3, "count", None, "one"]])
    rows.candidates[-1] = rows.candidates[-1]._replace(model="big")  # a model wrote it, by what the person marked
    (pair,) = made(rows)
    assert pair.judgements == (rows.judgements[0].id,)
    edited(
        rows, "two cats", "person:2", [[4, 8, "object", None, "cats"]]
    )  # two marked it: whose words the model went by is not known
    pair, other = made(rows)
    assert (pair.rejected_spans, pair.judgements) == (None, ())
    assert other.judgements == (rows.judgements[1].id,)


def test_of_an_editors_own_marks_the_last_counts():
    rows = rows_of(["two dogs"])
    edited(rows, "one dog", "person:1", [[0, 3, "count", None, "one"]])
    edited(rows, "a dog", "person:1", [[0, 3, "article", None, "a"]])
    assert [p.rejected_spans[0].correction for p in made(rows)] == ["a", "a"]


def test_an_edit_that_nobody_marked_has_no_spans():
    rows = rows_of(["two dogs"])
    rows.candidates.append(candidate(rows.sample.id, "rewrite", "one dog", model="big", parent=rows.candidates[0].id))
    (pair,) = made(rows)
    assert (pair.chosen, pair.rejected_spans, pair.judgements) == ("one dog", None, ())


def test_a_cap_of_no_edits_is_refused():
    with pytest.raises(ValidationError, match="per_parent"):
        with_parent.Settings(per_parent=0)
