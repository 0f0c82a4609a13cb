"""Pairs that cancel each other are found in whatever order, file and white space, and dropped after the step that leaves them."""

import pytest

from flows.planning import load
from flows.planning.reasons import reasons_of
from flows.reports.summary import finish
from flows.runs import executor, shards
from flows.runs.contradictions import contradictory
from pipeline.pair import best_worst
from schemas.arrow import from_batch
from schemas.errors import RecipeError
from schemas.records import Pair, Reason
from tests.support.preference_sets import jsonl
from tests.support.recipe_runs import completed


def pair(name: str, chosen: str, rejected: str | None, **known) -> Pair:
    return Pair(name, "s", "step", chosen, rejected, **known)


def found(*pairs: Pair) -> list[tuple[str, str]]:
    return [(a.id, b.id) for a, b in contradictory(pairs)]


def test_both_of_two_pairs_are_named_with_the_other():
    assert found(pair("1", "A", "B"), pair("2", "A", "C"), pair("3", "B", "A")) == [("1", "3"), ("3", "1")]


def test_white_space_does_not_hide_a_contradiction():
    assert found(pair("1", "A dog.", "A cat."), pair("2", " A  cat.\n", "A\tdog.")) == [("1", "2"), ("2", "1")]


def test_an_answer_that_is_good_and_bad_contradicts_itself():
    good, bad = pair("1", "A", None, label=True), pair("2", "A ", None, label=False)
    assert found(good, bad, pair("3", "B", None, label=False)) == [("1", "2"), ("2", "1")]
    assert found(good, good._replace(id="2"), pair("3", "A", None)) == []  # twice good, and one without a label


def test_a_cycle_of_three_and_equal_texts_are_no_contradiction():
    assert found(pair("1", "A", "B"), pair("2", "B", "C"), pair("3", "C", "A"), pair("4", "A", "A ")) == []


def test_pairs_about_other_media_are_not_compared():
    assert found(pair("1", "A", "B"), pair("2", "B", "A", rejected_media=("x",))) == []


A, B, C = ({"prompt": "What is shown?", "chosen": c, "rejected": r} for c, r in (("a", "b"), ("b ", "a"), ("a", "c")))
OTHERS = [{"prompt": f"What is {n}?", "chosen": "x", "rejected": "y"} for n in range(5)]


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A function that runs steps after a source of two files, two samples a shard; it returns the run and its live pairs of `What is shown?`."""
    monkeypatch.setattr(shards, "SIZE", 2)
    jsonl(tmp_path / "one.jsonl", A, *OTHERS, C)
    jsonl(tmp_path / "two.jsonl", *OTHERS[:2], B)

    def build(*steps, out: str = "out", **settings):
        source = {"source.pairs": {"path": [str(tmp_path / "one.jsonl"), str(tmp_path / "two.jsonl")], **settings}}
        document = {"name": "r", "steps": [source, *steps]}
        made = executor.open_document(document, out=tmp_path / out, cache=tmp_path / "cache")
        completed(made)
        live = [row for batch in made.tables().batches("pairs") for row in from_batch("pairs", batch)]
        return made, [(p.step, p.chosen, p.rejected) for p in live if p.chosen.strip() in ("a", "b")]

    return build


def test_rows_of_two_files_are_named_and_neither_is_in_the_dataset(run):
    made, pairs = run()
    assert pairs == [("pairs", "a", "c")]
    assert finish(made)["rejections"]["pairs"]["contradiction"] == 2
    dropped = [row for batch in made.tables().batches("rejections") for row in from_batch("rejections", batch)]
    told = sorted(row.detail for row in dropped if row.reason == Reason.CONTRADICTION)
    assert told[0].startswith("one.jsonl#1: two.jsonl#3 prefers the other answer")
    assert told[1].startswith("two.jsonl#3: one.jsonl#1 prefers the other answer")


@pytest.mark.parametrize("prompt", ["What is shown? ", "What  is\nshown?"])
def test_prompts_that_differ_in_white_space_are_one_question_but_stay_samples_of_their_own(run, tmp_path, prompt):
    jsonl(tmp_path / "two.jsonl", *OTHERS[:2], B | {"prompt": prompt})
    made, pairs = run()
    assert pairs == [("pairs", "a", "c")]
    dropped = [row for batch in made.tables().batches("rejections") for row in from_batch("rejections", batch)]
    told = sorted(row.detail.split(" prefers")[0] for row in dropped if row.reason == Reason.CONTRADICTION)
    assert told == ["one.jsonl#1: two.jsonl#3", "two.jsonl#3: one.jsonl#1"]
    # one.jsonl has 6 prompts, two.jsonl one more, which keeps its own white space
    assert sum(batch.num_rows for batch in made.tables().batches("samples")) == 7
    assert len(run(contradictions="keep", out="kept")[1]) == 3


def test_the_same_words_about_another_question_are_no_contradiction(run, tmp_path):
    jsonl(tmp_path / "two.jsonl", *OTHERS[:2], B | {"prompt": "What is not shown?"})
    assert run()[1] == [("pairs", "a", "b"), ("pairs", "a", "c"), ("pairs", "b ", "a")]


def test_contradictory_rows_stay_if_the_step_says_so(run):
    _, pairs = run(contradictions="keep")
    assert pairs == [("pairs", "a", "b"), ("pairs", "a", "c"), ("pairs", "b ", "a")]


def test_a_rules_own_pair_and_an_earlier_one_that_contradicts_it_are_both_dropped(run, tmp_path):
    # by its length the answer of four words is better, of which the source's pair says that it is worse
    jsonl(tmp_path / "one.jsonl", {"prompt": "What is shown?", "chosen": "b", "rejected": "a much longer one"})
    jsonl(tmp_path / "two.jsonl", {"prompt": "What is 0?", "chosen": "x and more", "rejected": "y"})
    steps = {"judge.length": {"axis": "score"}}, {"pair.best_worst": {"min_margin": 0}}
    made, pairs = run(*steps)
    assert pairs == []
    assert finish(made)["rejections"]["best_worst"]["contradiction"] == 2
    assert finish(made)["pairs"] == {"text": 2}  # the other prompt's, from the source and from the rule
    _, pairs = run(steps[0], {"pair.best_worst": {"min_margin": 0, "contradictions": "keep"}}, out="kept")
    assert [step for step, *_ in pairs] == ["pairs"]
    assert len(pairs) == 1  # and the rule's, whose chosen answer is the long one


def test_one_text_judged_twice_contradicts_itself_in_the_rule(run, tmp_path):
    # roles: x is chosen and, in other white space, rejected; y likewise: x > y and y > x
    first, second = {"chosen": "x", "rejected": "y"}, {"chosen": "y ", "rejected": "x\n"}
    jsonl(tmp_path / "one.jsonl", {"prompt": "Q?"} | first)
    jsonl(tmp_path / "two.jsonl", {"prompt": "Q?"} | second)
    made, _ = run("pair.fixed_role")
    counts = finish(made)["rejections"]
    assert (counts["pairs"]["contradiction"], counts["fixed_role"]["contradiction"]) == (2, 2)
    assert finish(made)["pairs"] == {}


def test_keep_is_for_steps_that_leave_pairs_and_changes_the_key_of_those_only():
    source = {"source.pairs": {"path": "x.jsonl"}}
    with pytest.raises(RecipeError, match="keep` needs a step that leaves pairs; remove it"):
        load.checked({"name": "r", "steps": [source, {"judge.length": {"contradictions": "keep"}}]})
    with pytest.raises(RecipeError, match="contradictions: Input should be 'drop' or 'keep'"):
        load.checked({"name": "r", "steps": [{"source.pairs": {"path": "x", "contradictions": "maybe"}}]})

    def key(**set) -> str:
        (step,) = load.checked({"name": "r", "steps": [{"source.pairs": {"path": "x.jsonl"} | set}]}).steps
        return step.of({}).key

    assert key() == key(contradictions="drop") != key(contradictions="keep")


def test_the_reason_is_listed_with_every_step_that_leaves_pairs():
    assert Reason.CONTRADICTION in reasons_of("pair", best_worst)


def test_rows_that_label_one_answer_good_and_bad_are_both_named(tmp_path):
    asked = {"prompt": "What?", "completion": "A dog."}
    rows = [
        asked | {"label": True},
        asked | {"label": False},
        asked | {"label": True},
        {"prompt": "So?", "completion": "x", "label": True},
    ]
    jsonl(tmp_path / "rows.jsonl", *rows)
    for kept, left in ((False, []), (True, [False, True])):
        source = {
            "source.pairs": {"path": str(tmp_path / "rows.jsonl"), **({"contradictions": "keep"} if kept else {})}
        }
        made = executor.open_document(
            {"name": "r", "steps": [source]}, out=tmp_path / f"out{kept}", cache=tmp_path / "cache"
        )
        completed(made)
        pairs = [row for batch in made.tables().batches("pairs") for row in from_batch("pairs", batch)]
        assert sorted(p.label for p in pairs if p.chosen == "A dog.") == left
        dropped = [row for batch in made.tables().batches("rejections") for row in from_batch("rejections", batch)]
        told = sorted((row.reason, row.detail.partition(";")[0]) for row in dropped)
        again = (Reason.DUPLICATE, "rows.jsonl#3: duplicate pair")
        turned = [
            (Reason.CONTRADICTION, f"rows.jsonl#{a}: rows.jsonl#{b} labels the same answer the other way")
            for a, b in ((1, 2), (2, 1))
        ]
        assert told == sorted([again] if kept else [again, *turned])
