"""The operator as a run calls it: an exported dataset in, a model folder out."""

import json
import shutil
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from safetensors.torch import load_file

from pipeline.dataset.read import read_examples
from pipeline.dataset.write import write
from pipeline.modeling.encode import Encoder
from pipeline.modeling.load import adapt, load, merge, save
from pipeline.modeling.logps import token_logps
from pipeline.storage.media_store import FolderStore
from pipeline.train import grpo
from pipeline.train._loop import fit
from pipeline.train._plan import Plan
from pipeline.train._reference import reference
from pipeline.train.dpo import Settings, shuffled, train
from schemas.errors import TrainError
from schemas.operator import Context
from tests.pipeline.train.conftest import TINY
from tests.pipeline.train.test_logps import both
from tests.support import small_run

silent = lambda *_: None


class Run(NamedTuple):
    context: Context
    tables: small_run.ListTables
    said: list[tuple]
    result: dict


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Media store, tables and exported dataset of a small run."""
    root = tmp_path_factory.mktemp("small")
    media = FolderStore(root / "media")
    tables = small_run.make(media)
    write(tables, media, root / "dataset", {"recipe": "small"})
    return media, tables, root


@pytest.fixture(scope="module")
def context(small):
    media, _, root = small
    return partial(Context, "train", "v", media, models={"policy": TINY}, dataset=root / "dataset")


@pytest.fixture(scope="module")
def run(small, context, tmp_path_factory) -> Run:
    _, tables, _ = small
    said: list[tuple] = []
    its = context(folder=tmp_path_factory.mktemp("run") / "model", progress=lambda *p: said.append(p))
    settings = Settings(model="policy", beta=0.3, lr=4e-4, epochs=3, batch_size=8, warmup=2)
    return Run(its, tables, said, train(tables, settings, its))


def test_training_on_pairs_of_all_media_lowers_the_loss(run):
    lines = [json.loads(line) for line in (run.context.folder / "metrics.jsonl").read_text().splitlines()]
    assert len(lines) == run.result["steps"] == 3 * -(-run.result["pairs"] // 8)
    assert lines[0]["loss"] == pytest.approx(0.6931, abs=1e-4)  # nothing has moved yet: ln 2
    assert run.result["loss"] < 0.5
    assert run.result["accuracy"] > 0.8
    assert run.result["margin"] > 0
    assert set(run.result["checks"]["sees_media"]) == {"image", "multi_image", "video", "audio"}
    assert run.result["checks"]["reference"].startswith("tiny@")
    json.dumps(run.result)  # a run writes it into its record


def test_it_says_how_far_it_is(run):
    steps = [(done, total) for done, total, text in run.said if text.startswith("loss")]
    assert steps == [(i + 1, run.result["steps"]) for i in range(run.result["steps"])]


def test_the_model_it_leaves_is_a_folder_like_the_one_it_came_from(run):
    folder = run.context.folder
    old, new = (load_file(Path(place) / "model.safetensors") for place in (TINY, folder))
    assert {name: (w.shape, w.dtype) for name, w in old.items()} == {
        name: (w.shape, w.dtype) for name, w in new.items()
    }
    changed = {name for name in old if not torch.equal(old[name], new[name])}
    assert "thinker.model.layers.0.self_attn.q_proj.weight" in changed
    assert not any("visual" in name or "audio_tower" in name for name in changed)
    copied = {path.name for path in Path(TINY).iterdir()} - {"model.safetensors"}
    assert all((folder / name).read_bytes() == (Path(TINY) / name).read_bytes() for name in copied)


def test_what_it_learnt_is_there_when_the_folder_is_loaded_again(run):
    encoder = Encoder(run.context.folder)
    few = [encoder.pair(example) for example in read_examples(run.context.dataset)]
    with torch.no_grad():  # log-probability of chosen over rejected, before and after
        before, after = (token_logps(load(place), both(few)).sum(1) for place in (TINY, run.context.folder))
    gained = (after - before)[0::2] - (after - before)[1::2]
    # the last steps' mean lies behind where the last step led
    assert 0.3 * float(gained.mean()) > run.result["margin"]


def test_the_same_seed_gives_the_same_weights_bit_for_bit(run, context, tmp_path):
    settings = Settings(model="policy", beta=0.3, lr=4e-4, epochs=3, batch_size=8, warmup=2)
    again = train(run.tables, settings, context(folder=tmp_path))
    assert (tmp_path / "model.safetensors").read_bytes() == (run.context.folder / "model.safetensors").read_bytes()
    assert (tmp_path / "metrics.jsonl").read_bytes() == (run.context.folder / "metrics.jsonl").read_bytes()
    assert again["loss"] == run.result["loss"]


def test_the_control_swaps_a_seeded_half_of_the_pairs(mixed):
    first, again, other = shuffled(mixed, 0), shuffled(mixed, 0), shuffled(mixed, 1)
    swapped = [new.answers == old.answers[::-1] for new, old in zip(first, mixed, strict=True)]
    assert sum(swapped) == len(mixed) // 2
    assert first == again != other
    assert all(new._replace(answers=old.answers) == old for new, old in zip(first, mixed, strict=True))


def test_grpo_trains_on_the_samples_of_the_run(small, context, tmp_path):
    _, tables, _ = small
    reward = lambda sample, texts: [float(text == sample.reference) for text in texts]
    settings = grpo.Settings(model="policy", lr=1e-4, steps=2, prompts=8, n=4, max_tokens=40, rewards=("any",))
    out = grpo.train(tables, settings, context(folder=tmp_path, built={"rewards": [reward]}))
    assert (out["samples"], out["steps"]) == (40, 2)
    assert 0 < out["reward_first"] < 1
    assert (tmp_path / "model.safetensors").exists()
    with pytest.raises(TrainError, match="`rewards` is empty"):
        grpo.train(tables, settings, context(folder=tmp_path))


def test_a_dataset_without_a_usable_pair_is_refused_with_a_reason(context, small, monkeypatch, tmp_path):
    _, tables, _ = small
    equal = [p._replace(rejected=p.chosen) for p in tables.rows["pairs"]]
    folder = tmp_path / "dataset"
    write(small_run.ListTables(tables.rows | {"pairs": equal}), small[0], folder, {"recipe": "equal"})
    with pytest.raises(TrainError, match=r"no pairs left to train on .* are the same text"):
        train(tables, Settings(model="policy"), context(folder=tmp_path, dataset=folder))


def test_adapters_train_alone_and_end_in_the_weights(model, mixed, tmp_path):
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    adapted = adapt(model, 4)
    settings = Settings(model="policy", lr=1e-2, batch_size=8, warmup=1, lora=4)
    few = mixed[:16]
    how = Plan(shared=True, tokens=10_000)
    fit(adapted, few, reference(adapted, few, how, 1e-3, silent), settings, how, tmp_path, silent)
    with torch.no_grad():
        inside = token_logps(adapted, both(few))
        merged = merge(adapted)
        torch.testing.assert_close(token_logps(merged, both(few)), inside, atol=1e-3, rtol=0)
    after = dict(merged.named_parameters())
    assert after.keys() == before.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert all(name.startswith("model.layers.") and name.endswith("_proj.weight") for name in changed)


def test_a_folder_without_a_model_is_named(tmp_path):
    with pytest.raises(TrainError, match=f"cannot load {tmp_path}"):
        load(str(tmp_path))
    with pytest.raises(TrainError, match=f"cannot load a processor from {tmp_path}"):
        Encoder(str(tmp_path))


def test_a_trained_model_leaves_without_secrets_local_paths_and_hidden_files(model, tmp_path):
    source = Path(shutil.copytree(TINY, tmp_path / "source"))
    (source / "README.md").write_text(
        "From /home/me/models/tiny, asked at http://10.0.0.7:8000/v1 with HF_TOKEN: https://u:p4ss@example.org/x?sig=1"
    )
    (source / ".env").write_text("HF_TOKEN=hf_abcdefgh12345678")
    config = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps(config | {"_name_or_path": "/home/me/models/tiny"}))
    save(model, str(source), tmp_path / "trained")
    left = {path.name for path in (tmp_path / "trained").iterdir()}
    assert left == {path.name for path in source.iterdir()} - {".env"}
    assert (
        tmp_path / "trained" / "README.md"
    ).read_text() == "From tiny, asked at (a server) with (a variable): https://example.org/x"
    assert json.loads((tmp_path / "trained" / "config.json").read_text()) == config | {"_name_or_path": "tiny"}


def test_training_is_told_how_much_of_media_is_shown(context, monkeypatch):
    asked = []
    monkeypatch.setattr("pipeline.modeling.encode.Encoder", lambda folder, **limits: asked.append(limits) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        train(None, Settings(model="policy"), context(media_limits={"policy": {"fps": 1.0}}))
    assert asked == [{"fps": 1.0}]
