"""Scorer models as judges: hand-made numbers behind the port, and real engines."""

import asyncio

import pytest
from pydantic import ValidationError

from annotators.judge import scorer
from pipeline.engines import hf
from schemas import messages
from schemas.errors import RecipeError
from schemas.operator import SampleRows
from schemas.recipe import models
from schemas.records import Outcome, Part, Reason, candidate, sample
from schemas.requests import Embed, Embedded, Failure, Likelihood, Likely, Rate, Rated
from tests.support.media_files import png
from tests.support.rows import context, rows_of
from tests.support.scorer_models import clip_model, reward_model


class Known:
    """A scripted engine behind the port: what it answers to a text, or to a medium, is given."""

    slots, can = 4, frozenset({"Embed", "Rate", "Likelihood"})

    def __init__(self, answers: dict, identity: str = "scorer@1"):
        self.answers, self.identity, self.asked = answers, identity, []

    async def ask(self, request):
        self.asked.append(request)
        part = request.messages[-1].parts[-1]
        return self.answers[part.media or part.text]


def scores(rows: SampleRows, engines, **settings):
    step = context("scorer", engines=engines)
    made = asyncio.run(scorer.judge(rows, scorer.Settings(model="scorer", **settings), step))
    return [(s.outcome.value, s.value, s.raw) for s in made]


RED, BLUE = "a red cup. it stands.", "a blue cup."
PICTURE = "ab" * 32


def embedded(*vector: float) -> Embedded:
    return Embedded(vector, 1)


def test_clip_is_a_hundred_times_the_cosine_and_never_below_nothing():
    # (1, 0) with (.6, .8): cosine .6, score 60; with (-.6, .8): below 0
    engine = Known({PICTURE: embedded(1, 0), RED: embedded(0.6, 0.8), BLUE: embedded(-0.6, 0.8)})
    found = scores(rows_of([RED, BLUE, RED, " "]), {"scorer": engine}, kind="clip")
    assert found == [
        ("verdict", 60.0, None), ("verdict", 0.0, None), ("verdict", 60.0, None), ("abstain", None, "the answer has no words"),
    ]  # fmt: skip
    assert len(engine.asked) == 3  # equal texts once, the picture once
    assert all(isinstance(r, Embed) for r in engine.asked)


def test_clip_by_sentence_is_their_mean():
    # "a red cup." 60, "it stands." 100 * 0 = 0: 30
    engine = Known({PICTURE: embedded(1, 0), "a red cup.": embedded(0.6, 0.8), "it stands.": embedded(0, 1)})
    assert scores(rows_of([RED]), {"scorer": engine}, kind="clip", per="sentence") == [("verdict", 30.0, None)]


def test_of_several_pictures_the_one_that_fits_best_counts():
    parts = Part("image", media="1" * 64), Part("image", media="2" * 64), "which ?"
    rows = SampleRows(sample((messages.user(*parts),)))
    rows.candidates = [candidate(rows.sample.id, "sample", BLUE)]
    engine = Known({"1" * 64: embedded(1, 0), "2" * 64: embedded(0, 1), BLUE: embedded(0.6, 0.8)})
    assert scores(rows, {"scorer": engine}, kind="clip") == [("verdict", 80.0, None)]


def test_without_media_there_is_nothing_to_compare_with():
    rows = SampleRows(sample((messages.user("what ?"),)))
    rows.candidates = [candidate(rows.sample.id, "sample", BLUE)]
    assert scores(rows, {"scorer": Known({})}, kind="clip") == [("abstain", None, "the sample has no media")]


def test_likelihood_is_a_sum_or_a_mean_or_a_difference():
    # -1 - 2 - 3 = -6, a mean of -2; under the reference -2 - 2 - 3 = -7, a mean of -2.3333; .1 * (-6 + 7) = .1; .1 * .3333 = .0333
    mine, theirs = Known({BLUE: Likely((-1.0, -2.0, -3.0), 5)}), Known({BLUE: Likely((-2.0, -2.0, -3.0), 5)}, "old@1")
    engines = {"scorer": mine, "old": theirs}
    ask = lambda **settings: scores(rows_of([BLUE]), engines, kind="likelihood", **settings)
    assert ask() == [("verdict", -6.0, None)]
    assert ask(normalise="length") == [("verdict", -2.0, None)]
    assert ask(reference="old") == [("verdict", 0.1, "-6.0000 -7.0000")]
    assert ask(reference="old", normalise="length") == [("verdict", 0.0333, "-2.0000 -2.3333")]
    assert ask(reference="old", beta=0.5) == [("verdict", 0.5, "-6.0000 -7.0000")]
    assert all(isinstance(r, Likelihood) and r.messages[-1].role == "assistant" for r in mine.asked)


def test_what_the_engine_cannot_answer_failed_and_is_no_score():
    engine = Known({BLUE: Failure(Reason.TOO_LONG, "too long"), RED: Rated(0.25, 4)})
    found = scores(rows_of([BLUE, RED]), {"scorer": engine}, kind="reward", media=False)
    assert found == [("failed", None, "too_long: too long"), ("verdict", 0.25, None)]
    assert all(isinstance(r, Rate) for r in engine.asked)
    assert not [p for r in engine.asked for m in r.messages for p in m.parts if p.media]
    engine = Known({PICTURE: Failure(Reason.MISSING_FILE, "gone"), BLUE: embedded(1, 0)})
    assert scores(rows_of([BLUE]), {"scorer": engine}, kind="clip") == [("failed", None, "missing_file: gone")]


def test_makers_get_the_numbers_alone():
    engine = Known({PICTURE: embedded(1, 0), BLUE: embedded(1, 0)})
    step = context("tree", engines={"scorer": engine})
    found = scorer.rate(rows_of([]).sample, [BLUE, " "], scorer.Settings(model="scorer", kind="clip"), step)
    assert asyncio.run(found) == [100.0, None]


@pytest.mark.parametrize(
    ("kind", "can"), [("reward", "Embed"), ("clip", "Rate"), ("clip", "Embed Generate"), ("likelihood", "Rate")]
)
def test_a_model_that_cannot_score_so_is_the_recipes_mistake(kind, can):
    engine = Known({})
    engine.can = frozenset(can.split())
    with pytest.raises(RecipeError, match="does not support"):
        scores(rows_of([BLUE]), {"scorer": engine}, kind=kind)


def test_the_reference_is_a_model_of_the_recipe():
    assert models(scorer.Settings(model="m", kind="likelihood", reference="old")) == ("m", "old")


def test_settings_that_belong_to_another_kind_are_refused():
    for settings in (
        {"kind": "reward", "per": "sentence"}, {"kind": "clip", "normalise": "length"}, {"kind": "clip", "reference": "x"},
        {"kind": "clip", "media": False}, {"kind": "reward", "beta": 0.2}, {"kind": "likelihood", "reference": "x", "beta": 0},
    ):  # fmt: skip
        with pytest.raises(ValidationError):
            scorer.Settings(model="m", **settings)


# real engines


@pytest.fixture(scope="module")
def hf_engine(runner, media_store):
    opened = []

    def connect(model) -> hf.HF:
        opened.append(runner.run(hf.connect(hf.Settings(model=str(model)), media_store)))
        return opened[-1]

    yield connect
    for engine in opened:
        runner.run(engine.close())


@pytest.fixture
def rows(media_store):
    made = SampleRows(sample((messages.user(Part("image", media=media_store.add(png())), "describe the picture ."),)))
    texts = ("there is a red circle at the top left .", "there is a blue star at the top right .")
    made.candidates = [candidate(made.sample.id, "sample", t, index=i) for i, t in enumerate(texts)]
    return made


def judged(runner, rows, engine, **settings) -> list[float]:
    step = context("scorer", engines={"m": engine, "r": engine})
    found = runner.run(scorer.judge(rows, scorer.Settings(model="m", **settings), step))
    assert {s.outcome for s in found} == {Outcome.VERDICT}
    return [s.value for s in found]


def test_real_models_score(runner, rows, hf_engine, tmp_path_factory):
    clip = hf_engine(clip_model(tmp_path_factory.mktemp("clip")))
    values = judged(runner, rows, clip, kind="clip")
    assert len(set(values)) == 2
    assert all(0 <= v <= 100 for v in values)
    reward = hf_engine(reward_model(tmp_path_factory.mktemp("reward")))
    assert len(set(judged(runner, rows, reward, kind="reward", media=False))) == 2


def test_likelihoods_of_hf_are_vllms_and_against_itself_a_model_gains_nothing(runner, rows, hf_engine, vllm_engine):
    tiny = hf_engine("data/models/tiny")
    mine, theirs = (judged(runner, rows, e, kind="likelihood") for e in (tiny, vllm_engine))
    assert mine == pytest.approx(theirs, abs=0.02)
    assert max(mine) < 0
    assert judged(runner, rows, tiny, kind="likelihood", reference="r") == [0.0, 0.0]
