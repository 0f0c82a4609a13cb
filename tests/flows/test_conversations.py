"""A conversation of three turns with pictures in two of them goes through every judge, writer and trainer, and each is asked about all of it."""

import hashlib
import json
from collections import Counter
from pathlib import Path

import pytest
import yaml

from flows.runs import executor
from tests.support.endpoint import Endpoint, served
from tests.support.media_files import png
from tests.support.recipe_runs import completed, rows

SYSTEM = "Answer in French, in at most three words."
FIRST, SEEN, SECOND = (
    "This is the first picture.",
    "A red square on white.",
    "And this the second. What differs between them?",
)
FOLLOW = "Which colour is it, and is there another shape?"
PROMPTS = {
    "two-pictures": [
        {"role": "user", "content": [{"type": "image", "path": "a.png"}, {"type": "text", "text": FIRST}]},
        {"role": "assistant", "content": SEEN},
        {"role": "user", "content": [{"type": "image", "path": "b.png"}, {"type": "text", "text": SECOND}]},
    ],
    "follow-up": [
        {"role": "user", "content": [{"type": "image", "path": "a.png"}, {"type": "text", "text": FIRST}]},
        {"role": "assistant", "content": SEEN},
        {"role": "user", "content": FOLLOW},
    ],
    "system": [
        {"role": "system", "content": SYSTEM},
        {"role": "user", "content": [{"type": "image", "path": "a.png"}, {"type": "text", "text": FOLLOW}]},
    ],
}
SAID = {"two-pictures": (FIRST, SEEN, SECOND), "follow-up": (FIRST, SEEN, FOLLOW), "system": (SYSTEM, FOLLOW)}
PICTURES = {"two-pictures": 2, "follow-up": 1, "system": 1}
# a part of each step's own words
ASKED = (
    "Two answers to the same question", "Rate each of the 4 answers", "Put the 4 answers", "Mark what is wrong", "is it true that", "list the facts it states",
    "Rewrite the answer so that", "Look closely at what is shown", "How many separate objects",
)  # fmt: skip
SEES_NONE = "list the facts it states"  # split.model


def folder_of(place: Path, prompts: dict) -> Path:
    for seed, name in enumerate("ab"):
        (place / f"{name}.png").write_bytes(png(seed))
    (place / "rows.jsonl").write_text("\n".join(json.dumps({"id": name, "prompt": p}) for name, p in prompts.items()))
    return place


def facts_of(place: Path) -> str:
    """What `prompt.compose_media` would say of the prompts of two pictures: the second one is asked about."""
    media = [hashlib.sha256((place / f"{name}.png").read_bytes()).hexdigest() for name in "ab"]
    return json.dumps({"composed": {"layout": "sequence", "target": 2, "media": media}})


def built(place: Path, name: str, models: dict, *steps) -> executor.Run:
    recipe = {"name": name, "models": models, "steps": [{"source.rows": {"path": str(place / "rows.jsonl")}}, *steps]}
    (place / f"{name}.yaml").write_text(yaml.safe_dump(recipe))
    run = executor.open_run(str(place / f"{name}.yaml"), out=place / name, cache=place / "cache")
    completed(run)
    return run


@pytest.fixture(scope="module")
def bodies(tmp_path_factory) -> list[dict]:
    """What the scripted server was asked by every step that asks about prompts."""
    endpoint = Endpoint()
    endpoint.keep_bodies = True
    place = folder_of(tmp_path_factory.mktemp("conversations"), PROMPTS)
    with served(endpoint) as url:
        models = {"m": {"engine": "openai", "model": "scripted", "base_url": url}}
        built(
            place, "judges", models, {"make.sample": {"model": "m", "n": 4}}, {"judge.pairwise": {"model": "m", "reason": True}},
            {"judge.pointwise": {"model": "m"}}, {"judge.listwise": {"model": "m"}}, {"judge.segments": {"model": "m"}},
            {"judge.claims": {"model": "m", "splitter": {"split.model": {"model": "m"}}}},
            {"make.rewrite": {"model": "m", "kind": "inject", "role": "rejected"}},
        )  # fmt: skip
        filtered = {"filter.media": {"model": "m", "objects": [0, None]}}
        built(place, "writers", models, filtered, {"prompt.llm_write": {"model": "m"}})
    return endpoint.bodies


def shown(body: dict) -> tuple[str, int, str]:
    """(all texts, number of pictures, texts before the last picture) of a request."""
    assert [m["role"] for m in body["messages"]] == ["user"]  # nothing of the sample is an instruction to the judge
    content = body["messages"][0]["content"]
    parts = [{"text": content}] if isinstance(content, str) else content
    last = max((i for i, part in enumerate(parts) if "image_url" in part), default=0)
    text = lambda some: "\n".join(part["text"] for part in some if "text" in part)
    return text(parts), sum("image_url" in part for part in parts), text(parts[:last])


def of(name: str, bodies: list[dict]) -> list[dict]:
    """The first requests that judges and writers sent about a prompt; not those of the maker, which sends the prompt itself."""
    whole = [body for body in bodies if body["messages"][-1]["content"] != FOLLOW and len(body["messages"]) == 1]
    return [body for body in whole if all(words in shown(body)[0] for words in SAID[name])]


@pytest.mark.parametrize("name", PROMPTS)
@pytest.mark.parametrize("words", ASKED)
def test_every_judge_and_writer_is_shown_all_turns_and_pictures(bodies, name, words):
    asked = [body for body in of(name, bodies) if words in shown(body)[0]]
    assert asked
    for body in asked:
        text, pictures, before = shown(body)
        assert pictures == (0 if words == SEES_NONE else PICTURES[name])
        places = [text.index(said) for said in SAID[name]]
        assert places == sorted(places)
        assert text.index("never for you") < places[0]
        if pictures == 2:  # the second picture stands behind the first turns
            assert SEEN in before
            assert SECOND not in before
        if name == "system":
            assert f"not you:\n<<<\n{SYSTEM}\n>>>" in text


def test_no_request_of_theirs_is_about_a_part_of_a_prompt(bodies):
    about = [body for body in bodies if any(words in shown_text(body) for words in ASKED)]
    whole = [json.dumps(body) for name in PROMPTS for body in of(name, bodies)]
    assert {json.dumps(body) for body in about} <= set(whole)


def shown_text(body: dict) -> str:
    return json.dumps(body["messages"][-1]["content"])


@pytest.mark.engine
def test_the_real_engine_and_both_trainers_take_a_conversation(tmp_path):
    """The tiny model answers, judges by every judge, rewrites, and is trained by DPO and by GRPO on eight such conversations."""
    prompts = {
        f"{i}": [*PROMPTS["two-pictures"][:2], {"role": "user", "content": [{"type": "image", "path": "b.png"}, {"type": "text", "text": f"{SECOND} {i}"}]}]
        for i in range(8)
    }  # fmt: skip
    place = folder_of(tmp_path, prompts)
    given = [
        json.loads(line) | {"facts": json.loads(facts_of(place))}
        for line in (place / "rows.jsonl").read_text().splitlines()
    ]
    (place / "rows.jsonl").write_text("\n".join(map(json.dumps, given)))
    policy_in = lambda engine: {"engine": engine, "model": str(Path("data/models/tiny").resolve())}
    policy = policy_in("vllm") | {"limit_mm_per_prompt": {"image": 2, "video": 1, "audio": 1}}
    judge = lambda name, **more: {f"judge.{name}": {"model": "policy", **more}}
    training = {"model": "policy", "batch_size": 2, "lr": 1.0e-5}
    run = built(
        place, "tiny", {"policy": policy, "seer": policy_in("hf")}, {"make.sample": {"model": "policy", "n": 4, "max_tokens": 64, "on_cut": "keep"}},
        judge("pairwise"), judge("pointwise", max_tokens=32), judge("listwise", max_tokens=32), judge("segments", max_tokens=64), judge("claims"),
        {"judge.scorer": {"model": "policy", "kind": "likelihood"}}, {"judge.attention": {"model": "seer"}}, {"make.rewrite": {"model": "policy", "kind": "fix", "max_tokens": 32}},
        {"pair.best_worst": {"axis": "score", "min_margin": 0}},
        {"judge.probe": {"judge": {"judge.pairwise": {"model": "policy", "of": "pairs"}}}},
        {"train.dpo": {"name": "dpo", **training, "epochs": 1}},
        {"train.grpo": {"name": "grpo", "model": "policy", "rewards": [{"judge.rule": {"kind": "regex", "regex": "yes"}}], "steps": 2, "prompts": 4,
                        "n": 8, "max_tokens": 32}},
    )  # fmt: skip
    judgements = rows(run, "judgements")
    outcomes = Counter((j.step, j.outcome) for j in judgements)
    assert not [key for key in outcomes if key[1] == "failed"]
    assert {j.step for j in judgements} >= {
        "pairwise",
        "pointwise",
        "listwise",
        "segments",
        "claims",
        "scorer",
        "attention",
        "probe",
    }
    attention = [j for j in judgements if j.axis == "attention"]
    assert {(j.outcome, len(j.raw.split())) for j in attention} == {
        ("verdict", 2)
    }  # a share for each of the two pictures
    assert {c.text for c in rows(run, "candidates") if c.step == "sample"} >= {
        "yes",
        "no",
    }  # what it has learnt to say of a question
    done = {unit.name: run.done(unit)["result"] for unit in run.units if unit.name in ("dpo", "grpo")}
    assert done["dpo"]["pairs"] == len(rows(run, "pairs")) > 0
    assert done["grpo"]["samples"] == 8
