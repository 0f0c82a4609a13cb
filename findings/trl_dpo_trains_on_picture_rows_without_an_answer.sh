#!/bin/bash
# trl 1.16.0 (transformers 5.19.0): DPOTrainer trains on picture rows whose answers `max_length` has cut off whole, and says nothing.
#
# Four pairs with one picture and a question of 150 tokens, max_length=64, so that no token of an answer is left:
#   with a picture    4 of 4 steps are run on 0 scored tokens: each loss is 0.6931 (ln 2), each gradient norm 0.0, no row is named
#   without           "Dropping fully truncated examples": all 4 rows are left out before training
# A run with a few such rows among good ones looks healthy: the rows are counted as trained.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export TMPDIR=$folder
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.13.0 trl==1.16.0 transformers==5.19.0 datasets==5.2.0 pillow==12.3.0
"$folder/venv/bin/python" - <<'PY'
import os
import tempfile

os.environ["HF_HUB_OFFLINE"] = "1"

import torch
from datasets import Dataset
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import CLIPImageProcessorPil, CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration, LlavaProcessor
from transformers import PreTrainedTokenizerFast
from trl import DPOConfig, DPOTrainer

torch.set_num_threads(1)
WORDS = ["<unk>", "<pad>", "<end>", "<image>", "What", "colour", "is", "it", "?", "red", "blue", "user", "assistant"]
TEMPLATE = """{% for m in messages %}{{ m.role }} {% for p in m.content %}{{ '<image>' if p.type == 'image' else p.text }}{% endfor %}
{%- if m.role == 'assistant' %}<end>{% endif %} {% endfor %}{% if add_generation_prompt %}assistant {% endif %}"""


def processor():
    words = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.add_special_tokens(WORDS[:4])
    tokens = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="<unk>", pad_token="<pad>", eos_token="<end>")
    size = {"height": 8, "width": 8}
    return LlavaProcessor(
        CLIPImageProcessorPil(size=size, crop_size=size), tokens, patch_size=4, vision_feature_select_strategy="default",
        num_additional_image_tokens=1, image_token="<image>", chat_template=TEMPLATE,
    )


def model():
    torch.manual_seed(0)
    tower = CLIPVisionConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2, image_size=8, patch_size=4, projection_dim=16
    )
    language = LlamaConfig(
        vocab_size=len(WORDS), hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=2
    )
    return LlavaForConditionalGeneration(LlavaConfig(vision_config=tower, text_config=language, image_token_index=3))


def trainer(rows, **settings):
    quiet = {"use_cpu": True, "bf16": False, "report_to": [], "gradient_checkpointing": False, "save_strategy": "no", "disable_tqdm": True}
    plan = DPOConfig(tempfile.mkdtemp(), per_device_train_batch_size=1, num_train_epochs=1, logging_steps=1, **quiet, **settings)
    return DPOTrainer(model(), model(), args=plan, train_dataset=Dataset.from_list(rows), processing_class=processor())


def said(role, words):
    return [{"role": role, "content": words}]


question = " ".join(["What colour is it ?"] * 30)
row = {"prompt": said("user", question), "chosen": said("assistant", "red"), "rejected": said("assistant", "blue")}
pictured = trainer([{**row, "images": [Image.new("RGB", (8, 8), "red")]}] * 4, max_length=64)
scored = [int(batch["completion_mask"].sum()) for batch in pictured.get_train_dataloader()]
pictured.train()
steps = [(round(log["loss"], 4), log["grad_norm"]) for log in pictured.state.log_history if "loss" in log]
print("with a picture: scored tokens", scored, "loss and gradient", steps)
left = len(trainer([{**row, "prompt": said("user", "What ?")}] + [row] * 4, max_length=64).train_dataset)
print("without, beside one short row: rows left", left)
assert scored == [0] * 4 and steps == [(0.6931, 0.0)] * 4 and left == 1
PY
echo "as described"
