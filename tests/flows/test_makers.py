"""The sample recipes of makers, run on real pictures against the scripted server, which follows what rewriting asks for."""

import json
from collections import Counter

import pytest
import yaml

from flows.runs import executor
from schemas.messages import question_of
from schemas.recipe import parse
from tests.support.endpoint import Endpoint, served
from tests.support.media_files import jpeg
from tests.support.recipe_runs import RECIPES, finished, rows

NAMES = sorted(path.stem for path in RECIPES.glob("make_*.yaml"))
COUNT = 16


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("makers")
    for i in range(COUNT):
        (folder / f"{i}.jpg").write_bytes(jpeg(i))
    reference = "A red cup stands on page {}. A cat sleeps beside it. The sun is out."
    rows = [
        {"prompt": f"what is on page {i} ?", "image": f"{i}.jpg", "reference": reference.format(i)}
        for i in range(COUNT)
    ]
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (folder / "structured.txt").write_text("Say first what is in front, then what is behind, then answer: {question}")
    with served(Endpoint()) as url:
        yield folder, url


@pytest.fixture(scope="module")
def build(folder):
    """The run of a sample recipe, finished; each is run once."""
    place, url = folder
    done: dict[str, executor.Run] = {}

    def run(name: str) -> executor.Run:
        if name not in done:
            document = yaml.safe_load((RECIPES / f"{name}.yaml").read_text())
            settings = [f"models.{model}.base_url={url}" for model in document["models"]]
            if any("source.rows" in step for step in document["steps"]):
                settings.append(f"rows.path={place / 'rows.jsonl'}")
            if name == "make_stic":
                settings.append(f"good.prompt={place / 'structured.txt'}")
            done[name] = finished(name, settings, place)
        return done[name]

    return run


@pytest.mark.parametrize("name", NAMES)
def test_every_recipe_leaves_pairs_and_says_what_became_of_every_sample(build, name):
    run = build(name)
    pairs = rows(run, "pairs")
    assert pairs
    assert all(p.chosen.strip() != p.rejected.strip() for p in pairs)
    samples = {s.id for s in rows(run, "samples")}
    without = samples - {p.sample for p in pairs}
    assert without <= {r.sample for r in rows(run, "rejections")}
    assert parse(run.raw).name == name


def test_two_models_of_three_answer_each_prompt(build):
    answers = rows(build("make_pool"), "candidates")
    assert set(Counter(c.sample for c in answers).values()) == {2}


def test_whole_answers_stand_against_those_continued_blindly(build):
    run = build("make_mpo")
    candidates = {c.id: c for c in rows(run, "candidates")}
    by_step = Counter(p.step for p in rows(run, "pairs"))
    assert by_step.keys() == {"right_wrong", "with_parent"}
    for p in rows(run, "pairs"):
        chosen, rejected = candidates[p.chosen_id], candidates[p.rejected_id]
        assert chosen.step == "gold"
        if p.step == "with_parent":
            assert rejected.parent == chosen.id
            asked = rejected.prompt[-1].parts[0].text
            assert chosen.text.startswith(asked)
            assert rejected.text.startswith(asked)
            assert not [part for m in rejected.prompt for part in m.parts if part.media]
        else:
            assert p.margin > 0


def test_the_end_of_an_answer_is_written_anew(build):
    for p in rows(build("make_hdpo"), "pairs"):
        start = p.chosen.removesuffix(" The sun is out.")
        assert start != p.chosen
        assert p.rejected.startswith(start)


def test_half_of_the_samples_get_a_bad_prompt_the_others_a_spoiled_picture(build):
    run = build("make_stic")
    steps = Counter(c.step for c in rows(run, "candidates"))
    assert steps["good"] == COUNT
    assert steps["bad_prompt"] + steps["spoiled"] == COUNT
    assert min(steps["bad_prompt"], steps["spoiled"]) >= 2
    media = {s.id: s.media for s in rows(run, "samples")}
    for c in rows(run, "candidates"):
        if c.step == "spoiled":
            assert [p.media for m in c.prompt for p in m.parts if p.media] != list(media[c.sample])
        elif c.step == "good":
            assert question_of(c.prompt).startswith("Say first what is in front")


@pytest.mark.parametrize("name", ["make_povid", "make_phantom"])
def test_a_rewritten_reference_is_the_rejected_side(build, name):
    run = build(name)
    for p in rows(run, "pairs"):
        assert p.rejected.split()[:-1] == p.chosen.split()[:-1]
    reasons = Counter(r.reason for r in rows(run, "rejections") if r.table == "candidates")
    assert set(reasons) <= {"unparsable", "equal_answers"}


def test_both_sides_are_said_in_one_style(build):
    run = build("make_ha_dpo")
    candidates = {c.id: c for c in rows(run, "candidates")}
    for p in rows(run, "pairs"):
        better, worse = candidates[p.chosen_id], candidates[p.rejected_id]
        assert (better.step, worse.step) == ("better", "worse")
        assert (
            candidates[candidates[better.parent].parent].id == worse.parent
        )  # one answer of the policy's is behind both


def test_what_was_masked_is_refilled_from_a_spoiled_picture(build):
    run = build("make_realign")
    candidates = {c.id: c for c in rows(run, "candidates")}
    media = {s.id: s.media for s in rows(run, "samples")}
    for p in rows(run, "pairs"):
        refilled = candidates[p.rejected_id]
        assert "[MASK]" in candidates[refilled.parent].text
        assert [part.media for m in refilled.prompt for part in m.parts if part.media] != list(media[p.sample])
