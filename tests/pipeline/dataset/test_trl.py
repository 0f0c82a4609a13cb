"""The dataset is a target of TRL's: its trainer takes a config as it is."""

from pathlib import Path

import datasets
import pytest
import torch
from transformers import AutoProcessor, Qwen2VLConfig, Qwen2VLForConditionalGeneration, Qwen2VLProcessor
from trl import DPOConfig, DPOTrainer

CHECKPOINT = Path(__file__).parents[3] / "data" / "models" / "tiny"


@pytest.fixture(scope="module")
def processor():
    """The tiny model's parts as the processor of an architecture that TRL trains: it finds no body in an Omni thinker."""
    own = AutoProcessor.from_pretrained(CHECKPOINT)
    return Qwen2VLProcessor(own.image_processor, own.tokenizer, own.video_processor, chat_template=own.chat_template)


def model(processor):
    """A Qwen2-VL of random weights, the same each time."""
    torch.manual_seed(0)
    token = processor.tokenizer.convert_tokens_to_ids
    text = {"vocab_size": len(processor.tokenizer), "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1,
            "num_attention_heads": 2, "num_key_value_heads": 2,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 3, 3]}}  # fmt: skip
    vision = {"depth": 1, "embed_dim": 32, "hidden_size": 32, "num_heads": 2, "patch_size": 16}
    return Qwen2VLForConditionalGeneration(
        Qwen2VLConfig(
            text_config=text,
            vision_config=vision,
            image_token_id=token("<|IMAGE|>"),
            video_token_id=token("<|VIDEO|>"),
            vision_start_token_id=token("<|vision_bos|>"),
            vision_end_token_id=token("<|vision_eos|>"),
        )
    )


@pytest.mark.parametrize("kind", ["image", "multi_image"])
def test_the_dpo_trainer_takes_a_step_on_the_pictures_as_they_are(exported, hub_cache, processor, kind):
    rows = datasets.load_dataset(str(exported.folder), data_dir=kind, split="train", cache_dir=str(hub_cache))
    policy = model(processor)
    arguments = DPOConfig(
        str(hub_cache / "out"), per_device_train_batch_size=4, max_steps=1, max_length=None, bf16=False, use_cpu=True, report_to=[],
        gradient_checkpointing=False, save_strategy="no", dataloader_pin_memory=False, disable_tqdm=True, learning_rate=1e-3,
        warmup_steps=0,
    )  # fmt: skip
    trainer = DPOTrainer(policy, model(processor), args=arguments, train_dataset=rows, processing_class=processor)
    batch = trainer.data_collator([trainer.train_dataset[i] for i in range(4)])
    before = policy.model.visual.patch_embed.proj.weight.detach().clone()
    # chosen and rejected show each picture; its 64 x 64 pixels are 4 x 4 patches
    assert len(batch["pixel_values"]) == 2 * 16 * sum(len(rows[i]["images"]) for i in range(4))
    # policy and reference are equal at the first step, where the loss is -log sigmoid(0) = log 2
    assert trainer.train().training_loss == pytest.approx(0.6931, abs=1e-4)
    assert (policy.model.visual.patch_embed.proj.weight != before).any()  # the gradient came from the pictures
