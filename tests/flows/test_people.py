"""People in the middle of a run: real answers go to a real Label Studio server, what is labeled there decides the pairs, a model
learns from them and is evaluated."""

import json
from pathlib import Path

import httpx
import pyarrow.parquet as pq
import pytest
import yaml

from annotators.label_studio.local import local_server
from annotators.people.ledger import Ledger
from annotators.people.question import Question
from flows.runs import executor
from flows.runs.shards import read_json
from schemas.arrow import from_batch
from tests.annotators.label_studio.written import choices, entry, ranker, stars, whole
from tests.support.asked import environment_of, label, pairwright
from tests.support.endpoint import Endpoint, served

TINY = Path(__file__).parents[2] / "data" / "models" / "tiny"
MODEL = {
    "engine": "vllm",
    "model": str(TINY),
    "max_model_len": 4096,
    "limit_mm_per_prompt": {"image": 2, "video": 1, "audio": 1},
}
RECIPE = {
    "name": "people",
    "models": {"policy": MODEL},
    "steps": [
        {"source.scenes": {"n": 32, "seed": 5}},
        {"make.sample": {"model": "policy", "n": 4, "temperature": 1.0, "max_tokens": 48}},
        {"judge.claims": {"model": "policy"}},
        {"judge.rule": {"name": "truth"}},
        {"score.refuted_claims": {"malformed": -3}},
        "pair.best_worst",
        {"judge.people": {"of": "pairs", "overlap": 2, "most": 3, "gold": 0.2, "repeat": 0.1}},
        {"score.consensus": {"also": ["score"]}},
        "pair.judged",
        {"train": {"model": "policy", "lr": 2.0e-4, "epochs": 1, "batch_size": 8, "as": "trained"}},
        {"evaluate.scenes": {"name": "after", "model": "trained", "n": 20, "questions": 1}},
    ],
}


@pytest.fixture(scope="module")
def annotators(label_studio):
    people = local_server.people(label_studio, ["ann", "bob", "cleo"])
    clients = [
        httpx.Client(base_url=label_studio.url, headers={"Authorization": f"Token {p.key}"}, timeout=60)
        for p in people.values()
    ]
    yield clients
    for client in clients:
        client.close()


@pytest.fixture(scope="module")
def environment(label_studio):
    return environment_of(label_studio)


def rows(run, table: str, before: str | None = None) -> list:
    """The live rows of a table, at the end or before a unit."""
    unit = next((u for u in run.units if u.name == before), None)
    return [row for batch in run.tables(unit).batches(table) for row in from_batch(table, batch)]


def test_labels_become_pairs_a_model_and_its_evaluation(tmp_path, annotators, environment):
    recipe, out = tmp_path / "people.yaml", tmp_path / "run"
    recipe.write_text(yaml.safe_dump(RECIPE))
    build = ("build", recipe, "--out", out, "--cache", tmp_path / "cache")

    said = pairwright(environment, *build)
    assert "waiting" in said
    assert "0 of" in said
    said = pairwright(environment, *build)  # called again it still waits, and asks nothing twice
    assert "waiting" in said
    run = executor.reopen(out)
    truth = {
        s.items[0]: s.value
        for s in rows(run, "judgements", "pass1-people")
        if s.axis == "truth" and s.target == "candidate"
    }
    proposed = {frozenset((p.chosen_id, p.rejected_id)): p for p in rows(run, "pairs", "pass1-people")}
    ledger = Ledger(out / "people" / "people")
    asked = list(ledger.questions())
    assert {frozenset(q.items) for q in asked} == proposed.keys()
    assert any(q.gold for q in asked)
    assert any(q.ask for q in asked)

    def knows(question, who):  # cleo always takes the second, ann and bob know the truth and say tie where it is one
        better = truth[question.items[0]] - truth[question.items[1]]
        return -1 if who == 2 else int(max(-2, min(2, better)))

    labeled = label(ledger, annotators[:2], knows)
    assert labeled == 2 * len(asked)
    said = pairwright(environment, "annotate", "pull", out)
    assert f"{labeled} new" in said
    said = pairwright(environment, "annotate", "status", out)
    assert f"{labeled} of {labeled} annotations" in said
    assert "ann@example.org" in said

    said = pairwright(environment, *build)
    assert "waiting" not in said
    run = executor.reopen(out)
    pairs = rows(run, "pairs")
    people = [s for s in rows(run, "judgements") if s.step == "people" and s.axis == "preference"]
    assert len(people) == labeled
    assert {s.annotator.partition(":")[0] for s in people} == {"person"}
    settled = {p for p in proposed if len({truth[i] for i in p}) == 2}
    assert {frozenset((p.chosen_id, p.rejected_id)) for p in pairs} <= proposed.keys()
    assert {p.step for p in pairs} == {"judged"}
    right = [p for p in pairs if frozenset((p.chosen_id, p.rejected_id)) in settled]
    assert right
    assert all(truth[p.chosen_id] > truth[p.rejected_id] for p in right)  # two people who agree outweigh the judge
    assert all(0.5 < p.soft_label <= 1 and p.confidence == p.soft_label and p.margin > 0 for p in pairs)
    exported = sum(pq.read_metadata(path).num_rows for path in (out / "dataset").glob("*/*.parquet"))
    assert exported == len(pairs)

    summary = read_json(out / "summary.json")
    assert summary["train"]["train"]["pairs"] == len(pairs)
    assert 0 <= summary["evaluate"]["after"]["mean"]["hallucination"]["value"] <= 1
    quality = summary["people"]["people"]["quality"]
    golds = [p["gold"]["share"] for p in quality["annotators"].values()]
    assert golds == [1.0, 1.0]
    assert "person:" in (out / "report.html").read_text()
    for path in (out / "summary.json", out / "report.html", out / "dataset" / "README.md"):
        assert "example.org" not in path.read_text()  # who they are stays in the ledger

    # somebody changes their mind: only what rests on it is made anew
    before = read_json(out / "passes" / "pass0-best_worst" / "done.json")
    repeated = {q.items for q in asked if q.ask}
    q = next(q for q in asked if frozenset(q.items) in settled and q.items not in repeated)
    of_person = {client.get("/api/current-user/whoami").json()["id"]: client for client in annotators}
    for answer in [a for a in ledger.answers(q.sample) if a.question.items == q.items]:
        place = f"/api/annotations/{answer.annotation}/"
        (mine,) = of_person[answer.person].get(place).json()["result"]
        mine["value"]["choices"] = [_other(mine["value"]["choices"][0])]
        of_person[answer.person].patch(place, json={"result": [mine]}).raise_for_status()
    assert "2 changed" in pairwright(environment, "annotate", "pull", out)
    pairwright(environment, *build)
    changed = {frozenset((p.chosen_id, p.rejected_id)): p for p in rows(executor.reopen(out), "pairs")}
    assert changed[frozenset(q.items)].chosen_id == min(q.items, key=truth.__getitem__)
    same = [p for p in pairs if frozenset((p.chosen_id, p.rejected_id)) != frozenset(q.items)]
    assert all(changed[frozenset((p.chosen_id, p.rejected_id))].chosen_id == p.chosen_id for p in same)
    assert read_json(out / "passes" / "pass0-best_worst" / "done.json") == before
    ledger.close()


def _other(choice: str) -> str:
    return {"L": "R", "R": "L"}[choice[0]] + choice[1]


def test_without_a_server_the_build_says_what_to_do(tmp_path, environment):
    recipe = tmp_path / "people.yaml"
    (tmp_path / "rows.jsonl").write_text("\n".join(json.dumps({"prompt": f"what is {n} ?"}) for n in range(3)))
    steps = [{"source.rows": {"path": str(tmp_path / "rows.jsonl")}}, *RECIPE["steps"][1:2], {"judge.people": {}}]
    recipe.write_text(yaml.safe_dump({**RECIPE, "steps": steps}))
    unset = {k: v for k, v in environment.items() if k != "LABEL_STUDIO_URL"} | {"LABEL_STUDIO_API_KEY": "k" * 40}
    said = pairwright(unset, "build", recipe, "--out", tmp_path / "run", "--cache", tmp_path / "cache", code=2)
    assert "set LABEL_STUDIO_URL" in said
    down = unset | {"LABEL_STUDIO_URL": "http://127.0.0.1:9"}
    said = pairwright(down, "build", recipe, "--out", tmp_path / "run", "--cache", tmp_path / "cache", code=1)
    assert "cannot be reached" in said
    said = pairwright(down, "annotate", "status", tmp_path / "run")
    assert "0 of" in said


# the other tasks, on answers of the scripted endpoint (tests/support/endpoint.py) ---------------------------------------------


def corrected(question: Question) -> list[dict]:
    (text,) = question.texts
    word = text.split()[0]
    return [
        entry("fault", "labels", {"start": 0, "end": len(word), "text": word, "labels": ["object"]}, "response"),
        choices("verdict", "corrected"), whole(f"corrected {text}"),
    ]  # fmt: skip


def ranked(question: Question) -> list[dict]:
    """The longer the better; the shortest nobody should get."""
    names = {f"r{place}": len(text) for place, text in enumerate(question.texts, 1)}
    *good, bad = sorted(names, key=names.__getitem__, reverse=True)
    return [ranker(good, [bad]), choices("done", "sorted")]


def rated(question: Question) -> list[dict]:
    (text,) = question.texts
    return [stars(axis, min(5, max(1, len(text) - 20))) for axis in ("helpfulness", "faithfulness", "safety")]


@pytest.fixture(scope="module")
def endpoint():
    with served(Endpoint()) as url:
        yield url


@pytest.mark.parametrize(
    ("task", "answer", "then"),
    [
        ({"task": "correct"}, corrected, ["pair.with_parent"]),
        ({"task": "ranking", "repeat": 0}, ranked, [{"score.consensus": {"axis": "rank", "method": "bradley_terry"}}, "pair.best_worst"]),
        ({"task": "ratings", "per_prompt": 3}, rated, [{"score.consensus": {"axis": "helpfulness", "method": "mean"}}, "pair.best_worst"]),
    ],
    ids=["correct", "ranking", "ratings"],
)  # fmt: skip
def test_every_task_leads_to_pairs(tmp_path, endpoint, annotators, environment, task, answer, then):
    (tmp_path / "rows.jsonl").write_text("\n".join(json.dumps({"prompt": f"what is {n} ?"}) for n in range(4)))
    recipe, out = tmp_path / "people.yaml", tmp_path / "run"
    steps = [
        {"source.rows": {"path": str(tmp_path / "rows.jsonl")}},
        {"make.sample": {"model": "policy", "n": 3, "max_tokens": 32}},
        {"judge.people": task},
        *then,
    ]
    models = {"policy": {"engine": "openai", "model": "scripted", "base_url": endpoint}}
    recipe.write_text(yaml.safe_dump({"name": str(tmp_path), "models": models, "steps": steps}))
    build = ("build", recipe, "--out", out, "--cache", tmp_path / "cache")
    assert "waiting" in pairwright(environment, *build)
    ledger = Ledger(out / "people" / "people")
    for q in ledger.questions():
        body = {"result": answer(q), "lead_time": 6.0}
        annotators[0].post(f"/api/tasks/{ledger.task_of(q.uid)}/annotations/", json=body).raise_for_status()
    ledger.close()
    assert "waiting" not in pairwright(environment, *build)
    pairs = rows(executor.reopen(out), "pairs")
    assert pairs
    for p in pairs:
        if task["task"] == "correct":
            assert p.chosen == f"corrected {p.rejected}"
            assert p.generator_chosen.startswith("person:")
            (span,) = p.rejected_spans
            assert (p.rejected[span.start : span.end], span.label) == (p.rejected.split()[0], "object")
        else:
            assert len(p.chosen) > len(p.rejected)
