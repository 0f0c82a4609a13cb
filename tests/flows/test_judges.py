"""The sample recipes of judges, run on real pictures against the scripted server, which judges by the merit of an answer's text."""

import json
from collections import Counter

import pytest

from flows.runs import executor
from schemas.recipe import parse
from tests.support.endpoint import Endpoint, merit, served
from tests.support.media_files import jpeg
from tests.support.recipe_runs import RECIPES, finished, rows

NAMES = sorted(path.stem for path in RECIPES.glob("judge_*.yaml"))
COUNT = 16


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("judges")
    for i in range(COUNT):
        (folder / f"{i}.jpg").write_bytes(jpeg(i))
    rows = [
        {"prompt": f"what is on page {i} ?", "image": f"{i}.jpg", "reference": f"A red cup stands on page {i}."}
        for i in range(COUNT)
    ]
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with served(Endpoint()) as url:
        yield folder, url


@pytest.fixture(scope="module")
def build(folder):
    """The run of a sample recipe, finished; each is run once."""
    place, url = folder
    done: dict[str, executor.Run] = {}

    def run(name: str) -> executor.Run:
        if name not in done:
            settings = [f"models.policy.base_url={url}", f"rows.path={place / 'rows.jsonl'}"]
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
    assert len(samples) == COUNT
    assert samples - {p.sample for p in pairs} <= {r.sample for r in rows(run, "rejections")}
    assert parse(run.raw).name == name


@pytest.mark.parametrize("name", ["judge_critic", "judge_sima"])
def test_what_judges_prefer_is_chosen(build, name):
    assert all(merit(p.chosen) > merit(p.rejected) for p in rows(build(name), "pairs"))


def test_all_ordered_pairs_are_compared(build):
    run = build("judge_critic")
    texts = {c.id: c.text for c in rows(run, "candidates")}
    of = Counter(s.sample for s in rows(run, "judgements") if s.step == "pairwise")
    assert max(of.values()) == 5 * 4
    assert all(texts[s.items[0]] != texts[s.items[1]] for s in rows(run, "judgements") if s.step == "pairwise")


def test_the_first_of_an_order_stands_against_the_last(build):
    run = build("judge_listwise")
    texts = {c.id: c for c in rows(run, "candidates")}
    for p in rows(run, "pairs"):
        merits = [merit(c.text) for c in texts.values() if c.sample == p.sample]
        assert (merit(p.chosen), merit(p.rejected)) == (max(merits), min(merits))


def test_marks_go_with_the_answer_that_was_mended(build):
    spans = [(p, s) for p in rows(build("judge_hsa_dpo"), "pairs") for s in p.rejected_spans or ()]
    assert spans
    for p, span in spans:
        assert p.rejected[span.start : span.end] == p.rejected.split()[-1]
        assert span.label in ("object", "attribute", "relation")
        assert span.severity in (1.0, 2.0, 3.0)
