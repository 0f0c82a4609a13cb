"""The course of `make model-real` in small, on the real base."""

from pathlib import Path

import pytest
from safetensors.torch import load_file

from pipeline.scenes.seeing import train
from pipeline.scenes.seeing.model import assemble
from pipeline.scenes.world import load_world

BASE = Path(__file__).parents[3] / "data" / "models" / "smollm2"
pytestmark = pytest.mark.engine


def test_the_course_stops_goes_on_and_leaves_what_both_engines_load(tmp_path, monkeypatch):
    """Two steps of the tower and four of the language model, stopped after two: `make model-real` in small."""
    monkeypatch.setattr(train, "PLAIN", 12)  # more than the rows of a step
    monkeypatch.setattr(train, "ANSWER", 8)
    monkeypatch.setattr(train, "CYCLE", ("talk", "plain"))
    monkeypatch.setattr(train, "SHOWN_EVERY", 2)
    if not BASE.exists():
        pytest.fail("no data/models/smollm2: run environment/real")
    world, said = load_world(), []
    train.warm_up(BASE, world, 2, 1, tmp_path, lambda step, text: None)

    def killed(step, text):
        said.append(step)
        if said == [1, 2]:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train.teach(BASE, world, 4, 1, tmp_path, killed)
    losses = train.teach(BASE, world, 4, 1, tmp_path, killed)
    assert said == [1, 2, 3, 4]
    assert losses["plain"] < 0.1 < losses["talk"]  # the first KL divergence is 0: nothing has moved
    assert sorted(path.name for path in tmp_path.iterdir()) == ["adapter.safetensors", "eyes.safetensors", "plain.json"]
    assert sum(path.stat().st_size for path in tmp_path.glob("*.safetensors")) < 16 << 20
    assemble(BASE, tmp_path, tmp_path / "whole")
    names = load_file(tmp_path / "whole" / "model.safetensors").keys()
    assert any(name.startswith("model.vision_tower.vision_model.encoder.") for name in names)  # as vLLM wants it
    assert not any("lora" in name for name in names)
