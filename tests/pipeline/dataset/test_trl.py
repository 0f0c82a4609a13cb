"""The dataset is a target of TRL's: its trainer takes a config as it is."""

from pathlib import Path

import datasets
import pytest
import torch
from transformers import AutoProcessor
from trl import DPOConfig, DPOTrainer

from pipeline.train.tiny.model import load

CHECKPOINT = Path(__file__).parents[3] / "data" / "models" / "tiny"


@pytest.mark.parametrize("kind", ["image", "multi_image"])
def test_the_dpo_trainer_takes_a_step_on_the_pictures_as_they_are(exported, hub_cache, kind):
    rows = datasets.load_dataset(str(exported.folder), data_dir=kind, split="train", cache_dir=str(hub_cache))
    (model, _), (reference, _) = load(CHECKPOINT), load(CHECKPOINT)
    arguments = DPOConfig(
        str(hub_cache / "out"), per_device_train_batch_size=4, max_steps=1, max_length=None, bf16=False, use_cpu=True, report_to=[],
        gradient_checkpointing=False, save_strategy="no", dataloader_pin_memory=False, disable_tqdm=True, learning_rate=1e-3,
    )  # fmt: skip
    processor = AutoProcessor.from_pretrained(CHECKPOINT)
    trainer = DPOTrainer(model, reference, args=arguments, train_dataset=rows, processing_class=processor)
    before = [p.detach().clone() for p in model.parameters()]
    batch = trainer.data_collator([trainer.train_dataset[i] for i in range(4)])
    # four prompts, chosen and rejected each, a picture of 64 x 64 pixels is 4 x 4 patches of 16 x 16
    pictures = sum(len(rows[i]["images"]) for i in range(4))
    assert batch["pixel_values"].shape[0] == 2 * pictures * 16
    assert torch.isfinite(torch.tensor(trainer.train().training_loss))
    assert any((p != q).any() for p, q in zip(model.parameters(), before, strict=True))
