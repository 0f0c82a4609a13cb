"""A pretrained language model that sees (`environment/real`): what the tiny model's closed vocabulary cannot show.

The figures at scale are `make real`'s; here each part works once."""

import asyncio
import json
from pathlib import Path
from random import Random
from typing import NamedTuple

import pytest

from annotators.judge import claims, listwise, pairwise, pointwise, segments
from pipeline.dataset.write import write
from pipeline.engines import hf, vllm
from pipeline.evaluate import scenes as evaluation
from pipeline.scenes.seeing import talk
from pipeline.scenes.world import ImageScene, draw_as, load_world, store_scene
from pipeline.train import dpo
from schemas.messages import assistant, user
from schemas.operator import Context, SampleRows
from schemas.records import Judgement, Media, Outcome, candidate, pair, sample
from schemas.requests import Generate, Likelihood
from tests.support.rows import context
from tests.support.small_run import ListTables

REAL = Path(__file__).parents[2] / "data" / "models" / "real"
pytestmark = pytest.mark.engine


class Shown(NamedTuple):
    """A picture to describe, with a true answer and one that says two false things."""

    rows: SampleRows
    media: list[Media]


@pytest.fixture(scope="module")
def engine(runner, media_store):
    if not REAL.exists():
        pytest.fail("no data/models/real: run environment/real")
    settings = vllm.Settings(model=str(REAL), limit_mm_per_prompt={"image": 1})
    loaded = runner.run(vllm.connect(settings, media_store))
    yield loaded
    runner.run(loaded.close())


@pytest.fixture(scope="module")
def shown(media_store) -> list[Shown]:
    """Eight pictures, asked about in words that were never trained."""
    out, asked = [], talk.words()["held"]["describe"]
    for i in range(8):
        scene, rng = draw_as(ImageScene, load_world(), f"test {i}", "eval"), Random(i)
        parts, media = store_scene(scene, media_store)
        rows = SampleRows(sample((user(*parts, asked[i % len(asked)]),)))
        texts = [talk.answer(scene, rng, edits, "There is {}.").text for edits in (0, 2)]
        rows.candidates = [candidate(rows.sample.id, "made", text, index=n) for n, text in enumerate(texts)]
        out.append(Shown(rows, media))
    return out


def test_it_describes_what_it_sees_and_speaks_english(runner, engine, shown):
    prompts = [(user("What is the capital of France?"),), *(one.rows.sample.prompt for one in shown)]

    async def answered():
        return await asyncio.gather(*(engine.ask(Generate(one, temperature=0, max_tokens=32)) for one in prompts))

    plain, *seen = [result.answers[0].text for result in runner.run(answered())]
    assert "Paris" in plain
    assert all(talk.named(text) for text in seen)  # each names a coloured shape


def test_transformers_answers_as_vllm_does(runner, engine, media_store, shown):
    async def both():
        theirs = await hf.connect(hf.Settings(model=str(REAL)), media_store)
        for one in shown[:2]:
            request = Generate(one.rows.sample.prompt, temperature=0, max_tokens=16)
            texts = [(await each.ask(request)).answers[0].text for each in (engine, theirs)]
            assert texts[0] == texts[1]
            likely = Likelihood((*one.rows.sample.prompt, assistant(texts[0])))
            a, b = [(await each.ask(likely)).logprobs for each in (engine, theirs)]
            assert a == pytest.approx(b, abs=1e-3)
        await theirs.close()

    runner.run(both())


def test_every_judge_asks_it_once(runner, engine, media_store, shown):
    """What it says is measured at scale; here no request fails, and every answer has its judgement."""
    told, rows = context("asked", media_store, engines={"policy": engine}, built={"splitter": one_claim}), shown[0].rows
    settings = {
        pairwise: pairwise.Settings(model="policy"), pointwise: pointwise.Settings(model="policy", max_tokens=32),
        listwise: listwise.Settings(model="policy", max_tokens=32), segments: segments.Settings(model="policy", max_tokens=64),
        claims: claims.Settings(model="policy"),
    }  # fmt: skip

    async def judged():
        return await asyncio.gather(*(module.judge(rows, chosen, told) for module, chosen in settings.items()))

    found = [[row for row in left if isinstance(row, Judgement)] for left in runner.run(judged())]
    # two orders of a pair; two answers each; of claims the form of each answer and its one claim
    assert [len(left) for left in found] == [2, 2, 2, 2, 4]
    assert not [row for left in found for row in left if row.outcome == Outcome.FAILED]
    assert all(row.prob is not None for row in found[0])


def one_claim(question: str, answer: str) -> list[tuple[str, bool]]:
    return [("Is there a circle?", True)]


def test_it_is_trained_and_evaluated(runner, engine, media_store, shown, tmp_path):
    """Two steps of DPO on four pairs: the loss starts at ln 2, and what is trained is a model of the same kind."""
    shown = shown[:4]
    tables = ListTables({
        "samples": [one.rows.sample for one in shown], "media": [m for one in shown for m in one.media],
        "candidates": [c for one in shown for c in one.rows.candidates],
        "pairs": [pair(one.rows.sample.id, "pair", *one.rows.candidates) for one in shown],
    })  # fmt: skip
    write(tables, media_store, tmp_path / "dataset", {"recipe": "real"})
    parts = {"models": {"policy": str(REAL)}, "dataset": tmp_path / "dataset", "folder": tmp_path / "model"}
    settings = dpo.Settings(model="policy", beta=0.3, lr=1e-4, lora=8, batch_size=2, warmup=0)
    found = dpo.train(tables, settings, Context("train", "v", media_store, **parts))
    assert (found["pairs"], found["steps"]) == (4, 2)
    losses = [json.loads(line)["loss"] for line in (tmp_path / "model" / "metrics.jsonl").read_text().splitlines()]
    assert losses[0] == pytest.approx(0.6931, abs=1e-3)
    assert losses[1] != pytest.approx(0.6931, abs=1e-6)
    config = [json.loads((folder / "config.json").read_text()) for folder in (tmp_path / "model", REAL)]
    assert config[0]["architectures"] == config[1]["architectures"] == ["LlavaForConditionalGeneration"]
    settings = evaluation.Settings(model="policy", n=4, media=("image",), questions=1)
    told = context("after", media_store, engines={"policy": engine}, folder=tmp_path)
    assert list(runner.run(evaluation.evaluate(None, settings, told))) == ["image", "mean"]
