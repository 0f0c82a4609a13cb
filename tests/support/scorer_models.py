"""Small scorer models with random weights, saved as the folders that engines load: they score at random, but always alike."""

import shutil
from pathlib import Path

import torch

TINY = "data/models/tiny"


def reward_model(folder: Path) -> Path:
    """A Llama with a head for one number, over the tiny model's tokens."""
    from transformers import AutoTokenizer, LlamaConfig, LlamaForSequenceClassification

    tokenizer = AutoTokenizer.from_pretrained(TINY)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        num_labels=1, pad_token_id=0,
    )  # fmt: skip
    LlamaForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def clip_model(folder: Path) -> Path:
    """A CLIP of pictures of 32 x 32 and texts of 16 of the tiny model's tokens."""
    from transformers import AutoTokenizer, CLIPConfig, CLIPImageProcessor, CLIPModel

    tokenizer = AutoTokenizer.from_pretrained(TINY)
    torch.manual_seed(1)  # with it the tests' texts and pictures are alike, not opposed: scores are cut off at 0
    size = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = CLIPConfig(
        text_config=size | {
            "vocab_size": len(tokenizer), "max_position_embeddings": 16, "eos_token_id": tokenizer.eos_token_id,
            "bos_token_id": 0, "pad_token_id": 0,
        },
        vision_config=size | {"image_size": 32, "patch_size": 16},
        projection_dim=16,
    )  # fmt: skip
    CLIPModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=32).save_pretrained(folder)
    return folder


def clap_model(folder: Path) -> Path:
    """A CLAP of sounds and texts."""
    from transformers import AutoTokenizer, ClapConfig, ClapFeatureExtractor, ClapModel

    tokenizer = AutoTokenizer.from_pretrained(TINY)
    torch.manual_seed(0)
    config = ClapConfig(
        text_config={
            "vocab_size": len(tokenizer), "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1,
            "num_attention_heads": 2, "max_position_embeddings": 32, "pad_token_id": 0, "type_vocab_size": 1,
        },
        audio_config={
            "patch_embeds_hidden_size": 16, "depths": [1, 1], "num_attention_heads": [2, 2], "hidden_size": 32, "num_hidden_layers": 2,
            "enable_fusion": False, "spec_size": 64, "num_mel_bins": 16, "window_size": 4,
        },
        projection_dim=16,
    )  # fmt: skip
    ClapModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    ClapFeatureExtractor(feature_size=16, sampling_rate=16000, max_length_s=2, truncation="rand_trunc").save_pretrained(
        folder
    )
    return folder


def trained_model(folder: Path) -> Path:
    """The tiny model with its last norm changed: as if it had been trained."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(TINY, folder, dirs_exist_ok=True)
    weights = folder / "model.safetensors"
    tensors = load_file(weights)
    tensors["thinker.model.norm.weight"] *= 1.2
    save_file(tensors, weights, metadata={"format": "pt"})
    return folder
