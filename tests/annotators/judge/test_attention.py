"""Where an answer looks, by numbers made by hand and by the real model."""

import json

import pytest
from pydantic import ValidationError

from annotators.judge import attention
from pipeline.engines import hf
from pipeline.pair import right_wrong
from pipeline.source import scenes
from schemas import messages
from schemas.errors import RecipeError
from schemas.operator import SampleRows
from schemas.records import Part, Reason, Sample, candidate, sample
from schemas.requests import Attend, Attended, Failure
from tests.support.rows import context


class Looking:
    """A scripted engine behind the port: the first picture's share is the number that the answer says, the rest is shared out."""

    identity, slots, can = "looker@1", 4, frozenset({"Attend"})

    async def ask(self, request: Attend):
        said = request.messages[-1].parts[0].text
        if said == "long":
            return Failure(Reason.TOO_LONG, "too long")
        pictures = sum(p.media is not None for m in request.messages for p in m.parts)
        return Attended((float(said), *[(1 - float(said)) / (pictures - 1)] * (pictures - 1)), 9)


def rows_with(pictures: int, texts: list[str], target: int | None = 1) -> SampleRows:
    media = [str(i) * 64 for i in range(pictures)]
    facts = (
        None if target is None else json.dumps({"composed": {"layout": "sequence", "target": target, "media": media}})
    )
    rows = SampleRows(sample((messages.user(*(Part("image", media=m) for m in media), "what ?"),), facts=facts))
    rows.candidates = [candidate(rows.sample.id, "sample", t, index=i) for i, t in enumerate(texts)]
    return rows


def judged(runner, rows: SampleRows, engine=None, **settings):
    step = context("attention", engines={"m": engine or Looking()})
    return runner.run(attention.judge(rows, attention.Settings(model="m", **settings), step))


def told(found) -> list[tuple]:
    return [(s.axis, s.outcome.value, s.value) for s in found]


def test_the_published_thresholds():
    thresholds = attention.Settings(model="m").thresholds
    at = {2: 0.8, 3: 0.7, 4: 0.6, 5: 0.6, 9: 0.6}  # MIA-DPO, of a sequence; more pictures than five are not published
    for pictures, share in at.items():
        assert attention.hallucinated(share, pictures, thresholds)
        assert not attention.hallucinated(share + 0.01, pictures, thresholds)


def test_who_looks_elsewhere_is_called_hallucinated_and_of_the_others_nothing_is_said(runner):
    assert told(judged(runner, rows_with(3, ["0.7", "0.71", "long"]))) == [
        ("attention", "verdict", 0.7), ("hallucination", "verdict", -1.0),
        ("attention", "verdict", 0.71), ("hallucination", "abstain", None),
        ("attention", "failed", None), ("hallucination", "failed", None),
    ]  # fmt: skip
    # of target 2 the share is (1 - .7) / 2 = .15
    assert judged(runner, rows_with(3, ["0.7"], target=2))[0].value == pytest.approx(0.15)
    assert told(judged(runner, rows_with(2, ["0.5"]), thresholds={2: 0.4}))[1] == ("hallucination", "abstain", None)


def test_where_no_picture_is_meant_it_abstains(runner):
    assert {s.outcome.value for s in judged(runner, rows_with(2, ["0.1"], target=None))} == {"abstain"}
    rows = rows_with(2, ["0.1"])
    grid = rows.sample._replace(
        facts=json.dumps({"composed": {"target": 1, "media": ["x", "y"]}})
    )  # shows a collage of x and y
    assert attention.target_of(grid) is None


def test_pairs_are_what_is_chosen_against_what_is_hallucinated(runner):
    rows = rows_with(2, ["the cup is red", "0.2", "0.9"])
    rows.candidates[0] = rows.candidates[0]._replace(role="chosen")
    rows.judgements = judged(runner, rows)
    assert told(rows.judgements)[0] == ("hallucination", "verdict", 0.0)
    found = right_wrong.pair(rows, right_wrong.Settings(axis="hallucination"), context("pair"))
    assert [(p.chosen, p.rejected) for p in found] == [("the cup is red", "0.2")]


def test_an_engine_that_does_not_say_where_it_looks_is_the_recipes_mistake(runner):
    blind = Looking()
    blind.can = frozenset({"Generate"})
    with pytest.raises(RecipeError, match="engine hf"):
        judged(runner, rows_with(2, ["0.1"]), blind)


def test_thresholds_are_shares():
    for thresholds in ({}, {2: 1.5}, {"two": 0.5}):
        with pytest.raises(ValidationError):
            attention.Settings(model="m", thresholds=thresholds)


def test_the_real_model_looks_at_the_pictures_that_it_is_shown(runner, media_store):
    engine = runner.run(hf.connect(hf.Settings(model="data/models/tiny"), media_store))
    step = context("scenes", media_store)
    shown = [
        r for r in scenes.read(scenes.Settings(n=2, seed=7, shares={"multi_image": 1}), step) if isinstance(r, Sample)
    ]
    for row in shown:
        shares = []
        for target in (1, 2):
            facts = json.dumps({"composed": {"target": target, "media": list(row.media)}})
            rows = SampleRows(row._replace(facts=facts))
            rows.candidates = [candidate(row.id, "sample", row.reference)]
            found = judged(runner, rows, engine)
            assert [s.axis for s in found] == ["attention", "hallucination"]
            shares.append(found[0].value)
        assert sum(shares) == pytest.approx(1, abs=1e-3)
        assert min(shares) > 0
    runner.run(engine.close())
