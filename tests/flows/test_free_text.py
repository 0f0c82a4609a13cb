"""Free text, whose claims a second model lists: what it lists badly or not at all is named and never counts as a verdict."""

import json
from pathlib import Path

import pytest
import yaml

from flows.runs import executor
from schemas.arrow import from_batch
from schemas.finish import FIRST
from tests.support.endpoint import Endpoint, served
from tests.support.media_files import jpeg

REFUSED = "I cannot help with that."


def build(folder: Path, name: str, policy: str, splitter: str, **settings) -> dict[str, list]:
    """The rows of a run over the folder's rows; all runs share a cache."""
    recipe = {
        "name": "free",
        "models": {
            "policy": {"engine": "openai", "model": "policy", "base_url": policy},
            "splitter": {"engine": "openai", "model": "splitter", "base_url": splitter},
        },
        "steps": [
            {"source.rows": {"path": str(folder / "rows.jsonl")}},
            {"make.sample": {"model": "policy", "n": 4, "max_tokens": 32}},
            {"judge.claims": {"model": "policy", "splitter": {"split.model": {"model": "splitter", **settings}}}},
            "score.refuted_claims",
            "pair.best_worst",
        ],
    }
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(recipe))
    run = executor.open_run(str(folder / f"{name}.yaml"), out=folder / name, cache=folder / "cache")
    for _ in executor.run_all(run):
        pass
    run.close()
    tables = run.tables()
    names = ("candidates", "claims", "judgements", "pairs")
    return {t: [row for b in tables.batches(t) for row in from_batch(t, b)] for t in names}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The same rows with a splitter that refuses three requests in ten, one that answers, and one that must be brief."""
    folder = tmp_path_factory.mktemp("free")
    (folder / "one.jpg").write_bytes(jpeg(1))
    rows = [{"prompt": f"what is on page {i} ?", "image": "one.jpg"} for i in range(40)]
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    answering = Endpoint()
    answering.keep_bodies = True
    faulty = Endpoint(share=0.3, times=1000, status=400, message="no room")
    with served(Endpoint()) as policy, served(faulty) as bad, served(answering) as good:
        return {
            "faulty": build(folder, "faulty", policy, bad),
            "whole": build(folder, "whole", policy, good),
            "brief": build(folder, "brief", policy, good, max_tokens=6),
            "bodies": answering.bodies,
        }


def slips(rows: dict[str, list], axis: str) -> dict[str, object]:
    return {j.items[0]: j for j in rows["judgements"] if j.axis == axis}


def test_every_fact_of_an_answer_is_a_claim_with_a_verdict(runs):
    rows = runs["whole"]
    forms, verdicts = slips(rows, "form"), slips(rows, "claim")
    good = [c for c in rows["candidates"] if c.text.split()[0] not in ("dog", "star", "cup")]
    assert len(good) > 100
    for c in good:
        words = c.text.strip(".").split()
        facts = [" ".join(words[i : i + 3]) for i in range(0, len(words), 3)]  # as the scripted splitter has it
        claims = [row for row in rows["claims"] if row.candidate == c.id]
        assert [row.question for row in claims] == [f"is it true that {fact} ?" for fact in dict.fromkeys(facts)]
        assert [row.index for row in claims] == list(range(len(claims)))
        assert forms[c.id].value == 1
        assert {verdicts[row.id].outcome for row in claims} == {"verdict"}
    assert all(
        isinstance(m["content"], str) for b in runs["bodies"] for m in b["messages"]
    )  # the splitter sees no media


def test_an_answer_that_states_nothing_has_no_claims_and_nothing_refuted(runs):
    rows = runs["whole"]
    silent = [c for c in rows["candidates"] if c.text.startswith("star")]
    assert silent
    assert not {row.candidate for row in rows["claims"]} & {c.id for c in silent}
    assert {slips(rows, "score")[c.id].value for c in silent} == {0.0}


@pytest.mark.parametrize("first", ["dog", "cup"])
def test_a_list_that_cannot_be_read_is_unparsable_with_its_words_and_never_a_zero(runs, first):
    rows = runs["whole"]
    bad = [c for c in rows["candidates"] if c.text.startswith(first)]
    assert bad
    for c in bad:
        form, score = slips(rows, "form")[c.id], slips(rows, "score")[c.id]
        assert (form.outcome, form.value) == ("refused" if first == "dog" else "unparsable", None)
        assert (score.outcome, score.value) == ("abstain", None)
        second, first_reply = form.raw.split(FIRST)
        lines = second.splitlines()
        questions = [line for line in lines if "is it true" in line]
        if first == "dog":
            assert (second.strip(), first_reply.strip()) == (REFUSED, REFUSED)
        else:  # the list of facts, and that of questions one short
            assert len(questions) == len(lines) - len(questions) - 1
    ids = {c.id for c in bad}
    assert not ids & {row.candidate for row in rows["claims"]}
    assert not ids & {i for p in rows["pairs"] for i in (p.chosen_id, p.rejected_id)}


def test_a_failing_splitter_is_failed_and_the_next_run_asks_again(runs):
    faulty, whole = runs["faulty"], runs["whole"]
    assert [c.id for c in faulty["candidates"]] == [c.id for c in whole["candidates"]]
    before, after = slips(faulty, "form"), slips(whole, "form")
    failed = {i for i, j in before.items() if j.outcome == "failed"}
    assert 20 < len(failed) < 140
    twice = {i for i, j in after.items() if FIRST in (j.raw or "")}  # whose second try may have been refused
    assert all(before[i] == after[i] for i in before.keys() - failed - twice)
    for i in failed:
        assert before[i].id == after[i].id
        assert (before[i].value, before[i].raw) == (
            None,
            "engine_refused: the server refused the request (400): no room",
        )
        assert slips(faulty, "score")[i].value is None
        assert after[i].outcome != "failed"
    assert not failed & {row.candidate for row in faulty["claims"]}


def test_a_list_that_was_cut_off_is_unparsable(runs):
    rows = runs["brief"]
    forms = slips(rows, "form")
    long = [c for c in rows["candidates"] if len(c.text.split()) > 4 and c.text.split()[0] not in ("dog", "star")]
    assert len(long) > 100
    for c in long:  # "- one two three", "- four five": more than six words with their marks
        assert forms[c.id].outcome == "unparsable"
        _, first = forms[c.id].raw.split(FIRST)
        why, _, said = first.strip().partition("raise max_tokens: ")
        assert why == "truncated: max_tokens (6) cut it off; "
        assert len(said.split()) == 6
