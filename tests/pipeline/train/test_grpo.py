import json

import pytest

from pipeline.train import _grpo
from pipeline.train.grpo import Settings
from schemas.errors import TrainError
from schemas.operator import Context
from schemas.records import Reason, sample


class Shown:
    """A media store over the examples' media."""

    def __init__(self, examples):
        self.data = {
            part.media: data
            for rows in examples.values()
            for row in rows
            for part, (_, data) in zip([p for p in row.messages[0].parts if p.media], row.media, strict=True)
        }

    def read(self, sha):
        return self.data[sha]


def short(row, texts: list[str]) -> list[float]:
    return [-float(len(text.split())) for text in texts]


def test_answers_that_are_rewarded_for_being_short_become_short(model, encoder, examples, tmp_path):
    rows = [sample(row.messages) for kind in examples.values() for row in kind]
    context = Context("train", "v", Shown(examples))
    settings = Settings(model="m", lr=2e-3, warmup=2, steps=10, prompts=8, n=8, max_tokens=32)
    prompts = _grpo.Prompts(rows, encoder, context, seed=0)
    out = _grpo.fit(model, prompts, encoder, [short], settings, tmp_path, lambda *_: None)
    rewards = [json.loads(line)["reward"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert len(rewards) == out["steps"] == 10
    assert sum(rewards[-3:]) / 3 > sum(rewards[:3]) / 3 + 2  # words
    assert out["checks"]["shared_prefix"] is True


def test_a_run_that_rewards_all_answers_alike_has_nothing_to_learn_and_says_so(model, encoder, examples, tmp_path):
    rows = [sample(row.messages) for row in examples["audio"]]
    settings = Settings(model="m", steps=1, prompts=2, n=2, max_tokens=4)
    prompts = _grpo.Prompts(rows, encoder, Context("train", "v", Shown(examples)), seed=0)
    with pytest.raises(TrainError, match="got the same reward"):
        _grpo.fit(model, prompts, encoder, [lambda row, texts: [1.0] * len(texts)], settings, tmp_path, lambda *_: None)


def test_a_sample_whose_media_are_gone_is_left_out_by_name(encoder, examples):
    good, gone = (sample(row.messages) for row in examples["audio"][:2])
    store = Shown(examples)
    del store.data[gone.media[0]]
    prompts = _grpo.Prompts([good, gone], encoder, Context("train", "v", store), seed=0)
    assert {row.id for row, _ in prompts.draw(4)} == {good.id}
    assert prompts.rejections[gone.id].reason == Reason.MISSING_FILE
