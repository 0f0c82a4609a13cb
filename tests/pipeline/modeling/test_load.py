from pathlib import Path

import pytest
import torch
from transformers import Qwen2_5OmniThinkerForConditionalGeneration

from pipeline.modeling.load import load
from schemas.errors import TrainError

TINY = str(Path(__file__).parents[3] / "data" / "models" / "tiny")


def test_a_library_that_says_nothing_is_named_by_the_class_of_its_error(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise ValueError

    monkeypatch.setattr("pipeline.modeling.load.AutoConfig.from_pretrained", refuse)
    with pytest.raises(TrainError, match=r"cannot load .*: ValueError$"):
        load(str(tmp_path))


def test_a_model_without_a_head_for_text_is_refused(monkeypatch):
    """As transformers loads a full Qwen3-Omni."""

    class Headless(torch.nn.Module):
        def get_output_embeddings(self):
            return None

    monkeypatch.setattr(
        Qwen2_5OmniThinkerForConditionalGeneration, "from_pretrained", lambda *_, **__: (Headless(), {})
    )
    with pytest.raises(TrainError, match="as Headless, which writes no text; use another model"):
        load(TINY)
