#!/bin/bash
# trl 1.16.0 (transformers 5.19.0): DPOTrainer ends the answers of plain-text rows with the end token, but not if the rows have pictures.
#
# The same pair three times, each a form that the trainer takes; the scored tokens of the chosen answer, as the collator makes them:
#   text only, plain text       ['red', '<end>']
#   one picture, plain text     ['red']            no end token: a model trained on such rows is never taught where an answer ends
#   one picture, messages       ['red', '<end>']   (from the chat template)
# No warning is given. Conversational rows, or answers that hold the end token as text, are the way around.
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


def scored(row):
    batch = next(iter(trainer([row]).get_train_dataloader()))
    ids, mask = batch["input_ids"][0], batch["completion_mask"][0]
    return [WORDS[token] for token, counts in zip(ids.tolist(), mask.tolist()) if counts]


def said(role, words):
    return [{"role": role, "content": words}]


red, question = Image.new("RGB", (8, 8), "red"), "What colour is it ?"
plain = {"prompt": question, "chosen": "red", "rejected": "blue"}
found = {
    "text only, plain text": scored(plain),
    "one picture, plain text": scored({**plain, "prompt": "<image> " + question, "images": [red]}),
    "one picture, messages": scored(
        {"prompt": said("user", question), "images": [red], "chosen": said("assistant", "red"), "rejected": said("assistant", "blue")}
    ),
}
for name, tokens in found.items():
    print(name, tokens)
assert list(found.values()) == [["red", "<end>"], ["red"], ["red", "<end>"]], found
PY
echo "as described"
