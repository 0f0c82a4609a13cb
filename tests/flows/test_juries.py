"""Recipes with several judges, and with a judge that is asked again without the media, as whole runs on the scripted endpoint."""

import pytest
import yaml

from flows.runs import executor
from schemas.arrow import from_batch
from tests.flows.test_cli import pairwright
from tests.support.media_files import jpeg
from tests.support.recipe_runs import completed

ROOT = executor.Path(__file__).parents[1] / "recipes"


def built(name: str, folder, endpoint: str, steps: list | None = None, judge: dict | None = None):
    """(summary, rows by table, folder) of a sample recipe over 24 pictures."""
    raw = yaml.safe_load((ROOT / f"{name}.yaml").read_text())
    for model in raw["models"].values():
        model["base_url"] = endpoint
    (folder / "pictures").mkdir(parents=True)
    for i in range(24):
        (folder / "pictures" / f"{i}.jpg").write_bytes(jpeg(i))
    raw["steps"][0]["source.folder"]["path"] = str(folder / "pictures")
    if judge:
        raw["steps"][2] = judge
        raw["steps"][3:] = [*(steps or []), {"judge.probe": {"judge": judge}}]
    run = executor.open_document(raw, out=folder / "out", cache=folder / "cache")
    summary = completed(run)
    tables = run.tables()
    names = ("samples", "candidates", "claims", "judgements", "pairs", "rejections")
    return summary, {t: [r for b in tables.batches(t) for r in from_batch(t, b)] for t in names}, folder / "out"


def test_a_jury_says_how_sure_it_is_and_respects_who_has_no_verdict(tmp_path, endpoint):
    summary, rows, _ = built("jury", tmp_path, endpoint)
    rating = {(s.step, s.items[0]): s.value for s in rows["judgements"] if s.axis in ("small", "large")}
    assert rows["pairs"]
    for pair in rows["pairs"]:
        sides = {}
        for step, weight in (("small", 1), ("large", 2)):
            better = rating[step, pair.chosen_id] - rating[step, pair.rejected_id]
            sides[(better > 0) - (better < 0)] = sides.get((better > 0) - (better < 0), 0) + weight
        # of the weight 3: that for chosen, and half of a tie's
        assert pair.confidence == pytest.approx((sides.get(1, 0) + sides.get(0, 0) / 2) / 3, abs=1e-4)
        assert pair.confidence >= 0.6
    assert summary["judges"]["consensus"]["annotator"] == "consensus.weighted"
    assert summary["judges"]["small"]["longer"]["n"] > 20


def test_a_probe_marks_the_pairs_it_asked_about_and_the_report_counts_them(tmp_path, endpoint):
    summary, rows, out = built("probe", tmp_path, endpoint)
    marked = [p for p in rows["pairs"] if p.needs_media is not None]
    assert 4 <= len({p.sample for p in marked}) <= 20  # half of 24
    assert {p.step for p in marked} == {"probe"}
    blind = {s.items: s for s in rows["judgements"] if s.axis == "blind"}
    for pair in marked:
        slip = blind[tuple(sorted((pair.chosen_id, pair.rejected_id)))]
        value = slip.value if slip.items[0] == pair.chosen_id else -slip.value
        assert pair.needs_media == (value <= 0)
    survived = summary["survive_without_media"]
    assert (survived["all"]["n"], survived["all"]["share"]) == (
        len(marked),
        pytest.approx(sum(not p.needs_media for p in marked) / len(marked), abs=1e-4),
    )
    assert survived["all"] == survived["image"]
    assert summary["judges"]["probe"]["shown_first"] is None
    assert "Asked without the media, the judge prefers the same answer" in (out / "report.html").read_text()
    assert (
        f"For {len(marked)} pairs the judge was also asked without the media"
        in (out / "dataset" / "README.md").read_text()
    )
    assert "preferences survive" in pairwright("show", out)


JUDGES = {
    "pairwise": (
        {"judge.pairwise": {"model": "policy"}},
        [{"score.consensus": {"method": "round_robin", "of": "answers"}}, {"pair.best_worst": {"min_margin": 1}}],
    ),
    "pointwise": ({"judge.pointwise": {"model": "policy"}}, [{"pair.best_worst": {"axis": "rating"}}]),
    "claims": (
        {"judge.claims": {"model": "policy", "splitter": {"split.model": {"model": "policy"}}}},
        ["score.refuted_claims", {"pair.best_worst": {"min_margin": 0}}],
    ),
}


@pytest.mark.parametrize("name", JUDGES)
def test_every_kind_of_judge_can_be_asked_again(tmp_path, endpoint, name):
    judge, steps = JUDGES[name]
    _, rows, _ = built("probe", tmp_path, endpoint, steps, judge)
    blind = [s for s in rows["judgements"] if s.axis == "blind"]
    assert {s.outcome for s in blind} <= {"verdict", "tie", "unparsable", "abstain"}
    said = sum(s.outcome in ("verdict", "tie") for s in blind)
    assert said == sum(p.needs_media is not None for p in rows["pairs"]) > 0
    assert {c.step for c in rows["claims"]} <= {"claims"}  # what the probe asked about stays its own


def test_a_jury_on_claims_counts_each_claim_once(tmp_path, endpoint):
    _, rows, _ = built("jury_claims", tmp_path, endpoint)
    votes = {}
    claims = {c.id: c for c in rows["claims"]}
    for s in rows["judgements"]:
        if s.axis == "claim" and s.value is not None:
            c = claims[s.items[0]]
            votes.setdefault((c.candidate, c.question, c.wanted), []).append(s.value)
    scores = {s.items[0]: s.value for s in rows["judgements"] if s.step == "refuted_claims" and s.value is not None}
    assert len(scores) > 20
    for answer, value in scores.items():
        mine = [of for (candidate, *_), of in votes.items() if candidate == answer]
        assert {len(of) for of in mine} <= {3}
        assert value == -sum(sum(of) < 2 for of in mine)  # at most one of three bears it out


def test_ranks_of_coarse_and_fine_scales_are_mixed(tmp_path, endpoint):
    _, rows, _ = built("jury_ranks", tmp_path, endpoint)
    found = {s.items[0]: s for s in rows["judgements"] if s.axis == "score"}
    of = {axis: {s.items[0]: s.value for s in rows["judgements"] if s.axis == axis} for axis in ("coarse", "fine")}
    assert rows["pairs"]
    for sample in rows["samples"]:
        ids = [c.id for c in rows["candidates"] if c.sample == sample.id]

        def rank(axis: str, item: str, ids: list = ids) -> float:
            better = sum(of[axis][other] > of[axis][item] for other in ids)
            equal = sum(of[axis][other] == of[axis][item] for other in ids)
            return better + (equal + 1) / 2

        for item in ids:
            assert found[item].value == pytest.approx(-(rank("coarse", item) + 3 * rank("fine", item)) / 4, abs=1e-3)


def test_the_round_robin_of_two_judges_adds_up(tmp_path, endpoint):
    summary, rows, _ = built("jury_pairs", tmp_path, endpoint)
    totals = {}
    for s in rows["judgements"]:
        if s.axis == "score" and s.value is not None:
            totals[s.sample] = totals.get(s.sample, 0) + s.value
    assert totals
    assert set(totals.values()) == {0}  # what one wins another loses
    worth = summary["judges"]["one"]
    assert worth["contradicted"]["n"] > 40
    assert worth["shown_first"]["n"] > worth["contradicted"]["n"]


def test_every_sample_recipe_of_juries_is_tried_here():
    assert {path.stem for path in ROOT.glob("jury*.yaml")} == {"jury", "jury_claims", "jury_ranks", "jury_pairs"}
