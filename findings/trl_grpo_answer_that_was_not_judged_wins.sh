#!/bin/bash
# trl 1.16.0 (transformers 5.19.0): in GRPO an answer that a reward function could not judge (None) can get the highest advantage.
#
# Two reward functions, four answers to one prompt: a judge that takes points off (-1, -2, None, -3) and a check that gives 0 to all.
# None is left out of the sum instead of the comparison, so the sums are -1, -2, 0, -3: the third answer, of which the judge said nothing,
# is the best of its group (advantage 1.16) and is reinforced. With the judge alone the same answer gets advantage 0.
# Judges that give no verdict on one answer of a group are common (refusal, reply that cannot be read).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export TMPDIR=$folder
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.13.0 trl==1.16.0 transformers==5.19.0 datasets==5.2.0
"$folder/venv/bin/python" - <<'PY'
import os
import tempfile

os.environ["HF_HUB_OFFLINE"] = "1"

import torch
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from trl import GRPOConfig, GRPOTrainer

torch.set_num_threads(1)
torch.manual_seed(0)
WORDS = ["<unk>", "<pad>", "<end>", "red", "blue", "green", "What", "?"]


class Watched(GRPOTrainer):
    """Keeps the advantages of the one batch."""

    def _generate_and_score_completions(self, inputs):
        made = super()._generate_and_score_completions(inputs)
        self.seen = [round(value, 2) for value in made["advantages"].tolist()]
        return made


def judge(completions, **_):
    return [-1.0, -2.0, None, -3.0]


def check(completions, **_):
    return [0.0] * 4


def advantages(rewards):
    words = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    tokens = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="<unk>", pad_token="<pad>", eos_token="<end>")
    size = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 2}
    plan = GRPOConfig(
        tempfile.mkdtemp(), per_device_train_batch_size=4, num_generations=4, max_completion_length=4, max_steps=1, use_cpu=True,
        bf16=False, report_to=[], save_strategy="no", disable_tqdm=True, gradient_checkpointing=False,
    )
    trainer = Watched(
        LlamaForCausalLM(LlamaConfig(vocab_size=len(WORDS), **size)), reward_funcs=rewards, args=plan,
        train_dataset=Dataset.from_dict({"prompt": ["What ?"] * 4}), processing_class=tokens,
    )
    trainer.train()
    return trainer.seen


both, alone = advantages([judge, check]), advantages([judge])
print("judge and check", both)
print("judge alone    ", alone)
# by hand: sums -1, -2, 0, -3 have mean -1.5 and deviation 1.29: (0 + 1.5) / 1.29 = 1.16
assert both == [0.39, -0.39, 1.16, -1.16], both
assert alone == [1.0, 0.0, 0.0, -1.0], alone
PY
echo "as described"
