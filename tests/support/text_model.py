"""A text-only language model with random weights, made on the spot."""

from pathlib import Path

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedConfig, PreTrainedTokenizerFast

WORDS = [f"w{number}" for number in range(60)]
VOCABULARY = ["<unk>", "<|turn|>", "<|end|>", "user", "assistant", "system", *WORDS]
TEMPLATE = (
    "{% for m in messages %}<|turn|> {{ m.role }} {{ m.content }} <|end|> {% endfor %}"
    "{% if add_generation_prompt %}<|turn|> assistant {% endif %}"
)
SMALL = {"vocab_size": len(VOCABULARY), "bos_token_id": None, "eos_token_id": 2, "pad_token_id": None}


def llama(**settings) -> LlamaConfig:
    return LlamaConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        max_position_embeddings=512, **SMALL, **settings,
    )  # fmt: skip


def make(folder: Path, template: str | None = TEMPLATE, config: PreTrainedConfig | None = None) -> Path:
    """The folder with a model of `config`, by default a Llama of 30,000 weights, and a tokenizer of whole words."""
    words = Tokenizer(WordLevel({word: number for number, word in enumerate(VOCABULARY)}, "<unk>"))
    words.pre_tokenizer = WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words, unk_token="<unk>", eos_token="<|end|>", additional_special_tokens=["<|turn|>"],
        model_max_length=512,
    )  # fmt: skip
    tokenizer.chat_template = template
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config or llama()).save_pretrained(folder)
    return folder
