"""The demo's model: a Qwen2.5-Omni thinker of 1.6 million parameters, in the layout of a Hub checkpoint.

Every attention head is 32 wide, the minimum of vLLM's attention on CPUs."""

import json
import os
from collections.abc import Iterable
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    GenerationConfig,
    PreTrainedTokenizerFast,
    Qwen2_5OmniConfig,
    Qwen2_5OmniProcessor,
    Qwen2_5OmniThinkerConfig,
    Qwen2_5OmniThinkerForConditionalGeneration,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
    WhisperFeatureExtractor,
)

Thinker = Qwen2_5OmniThinkerForConditionalGeneration

PATCH = 16  # pixels
MERGE = 2  # patches per side that are merged into one token: 32x32 pixels
FRAMES = 2  # frames per grid of patches
MELS = 32
HOP = 160  # samples, 10 ms
STEPS_A_SECOND = 2  # time positions; at 2 frames a second, a grid of two frames is one second
PIXELS = {"shortest_edge": 32 * 32, "longest_edge": 512 * 512}  # pictures with an area in this range are not resized
LENGTH = 4096  # tokens of context
EMBEDDING = "model.embed_tokens.weight"
LAYERS = 3  # of the language model, for answering
JUDGING_LAYERS = 3  # after them: false claims in a quoted answer, its rating, the comparison

NAMED = {
    "image_token": "<|IMAGE|>", "video_token": "<|VIDEO|>", "audio_token": "<|AUDIO|>",
    "vision_bos_token": "<|vision_bos|>", "vision_eos_token": "<|vision_eos|>",
    "audio_bos_token": "<|audio_bos|>", "audio_eos_token": "<|audio_eos|>",
}  # fmt: skip
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *NAMED.values()]
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
    "{% if m['content'] is string %}{{ m['content'] }}{% else %}{% for p in m['content'] %}"
    "{% if p['type'] == 'image' %}<|vision_bos|><|IMAGE|><|vision_eos|>"
    "{% elif p['type'] == 'video' %}<|vision_bos|><|VIDEO|><|vision_eos|>"
    "{% elif p['type'] == 'audio' %}<|audio_bos|><|AUDIO|><|audio_eos|>"
    "{% else %}{{ p['text'] }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def new_tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer in which every word of `texts` is one token; any other text can still be encoded."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=1024,  # more than needed: merging stops by itself
        special_tokens=SPECIAL,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    # a role precedes a line's first word, as in the chat template
    roles = ("user", "assistant")
    bpe.train_from_iterator((f"{roles[i % 2]}\n{text}" for i, text in enumerate(texts)), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe, pad_token="<|endoftext|>", eos_token="<|im_end|>", chat_template=TEMPLATE,
        padding_side="left", extra_special_tokens=dict(NAMED), model_max_length=LENGTH,
    )  # fmt: skip


def new_config(tokenizer: PreTrainedTokenizerFast, layers: int = LAYERS) -> Qwen2_5OmniThinkerConfig:
    token = tokenizer.convert_tokens_to_ids
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": 128,
        "intermediate_size": 256,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": LENGTH,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [4, 6, 6]},
        "tie_word_embeddings": True,
        "pad_token_id": tokenizer.pad_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "bos_token_id": None,
    }
    vision = {
        "depth": 2,
        "hidden_size": 96,
        "intermediate_size": 256,
        "num_heads": 3,
        "patch_size": PATCH,
        "spatial_merge_size": MERGE,
        "temporal_patch_size": FRAMES,
        "window_size": PATCH * MERGE * 64,
        "fullatt_block_indexes": [0, 1],
        "out_hidden_size": 128,
        "tokens_per_second": STEPS_A_SECOND,  # vLLM's name for position_id_per_seconds
    }
    audio = {
        "num_mel_bins": MELS,
        "encoder_layers": 2,
        "encoder_attention_heads": 2,
        "encoder_ffn_dim": 128,
        "d_model": 64,
        "output_dim": 128,
        "n_window": 100,
        "max_source_positions": 100,
    }
    media = {name: token(f"<|{name.upper()}|>") for name in ("image", "video", "audio")}
    return Qwen2_5OmniThinkerConfig(
        text_config=text,
        vision_config=vision,
        audio_config=audio,
        **{f"{name}_token_index": i for name, i in media.items()},
        **{f"{name}_token_id": i for name, i in media.items()},
        vision_start_token_id=token("<|vision_bos|>"),
        vision_end_token_id=token("<|vision_eos|>"),
        audio_start_token_id=token("<|audio_bos|>"),
        audio_end_token_id=token("<|audio_eos|>"),
        user_token_id=token("user"),
        position_id_per_seconds=STEPS_A_SECOND,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
    )


def new_model(tokenizer: PreTrainedTokenizerFast, seed: int, layers: int = LAYERS) -> Thinker:
    """A model with random weights, in float32."""
    torch.manual_seed(seed)
    model = Thinker(new_config(tokenizer, layers))
    for name, weight in model.named_parameters():
        if weight.dim() == 2:  # scaled by fan-in: transformers' 0.02 suits wide models
            torch.nn.init.normal_(weight, std=0.05 if "embed" in name else weight.shape[1] ** -0.5)
    return model


def with_judging_layers(
    model: Thinker, tokenizer: PreTrainedTokenizerFast, more: PreTrainedTokenizerFast, seed: int, dtype=torch.float16
) -> Thinker:
    """`model` with the judging layers added (identity at first) and with the vocabulary of `more`.

    New words get random embeddings. The existing weights are rounded to `dtype`, as by `save`."""
    out = new_model(more, seed, LAYERS + JUDGING_LAYERS)
    learnt = {name: value.to(dtype).float() for name, value in model.state_dict().items()}
    embedding, known = out.get_input_embeddings().weight.detach(), learnt[EMBEDDING]
    for word, i in more.get_vocab().items():
        if (old := tokenizer.get_vocab().get(word)) is not None:
            embedding[i] = known[old]
    out.load_state_dict(learnt | dict.fromkeys((EMBEDDING, "lm_head.weight"), embedding.clone()), strict=False)
    for layer in out.model.layers[LAYERS:]:
        torch.nn.init.zeros_(layer.self_attn.o_proj.weight)
        torch.nn.init.zeros_(layer.mlp.down_proj.weight)
    return out


@torch.no_grad()
def round_weights(model: Thinker, dtype=torch.float16) -> None:
    """Rounds in place to the precision that `save` writes."""
    for weight in model.parameters():
        weight.copy_(weight.to(dtype))


def new_processor(tokenizer: PreTrainedTokenizerFast) -> Qwen2_5OmniProcessor:
    pixels = {
        "patch_size": PATCH,
        "merge_size": MERGE,
        "temporal_patch_size": FRAMES,
        "size": dict(PIXELS),
        "image_mean": [0.5] * 3,
        "image_std": [0.5] * 3,
    }
    sound = {"feature_size": MELS, "sampling_rate": 16_000, "hop_length": HOP, "chunk_length": 1, "n_fft": 400}
    return Qwen2_5OmniProcessor(
        image_processor=Qwen2VLImageProcessor(**pixels),
        video_processor=Qwen2VLVideoProcessor(do_sample_frames=False, **pixels),
        feature_extractor=WhisperFeatureExtractor(**sound, return_attention_mask=True),
        tokenizer=tokenizer,
        chat_template=TEMPLATE,
    )


def save(model: Thinker, tokenizer: PreTrainedTokenizerFast, folder: str | Path, dtype=torch.float16) -> None:
    """Writes a complete Qwen2.5-Omni checkpoint (without its talker) that transformers and vLLM can load."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    weights = {
        "thinker." + name: value.detach().to(dtype).contiguous()
        for name, value in model.state_dict().items()
        if name != "lm_head.weight"  # tied to the embeddings
    }
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    config = Qwen2_5OmniConfig(
        thinker_config=model.config.to_dict(), enable_audio_output=False, tie_word_embeddings=True
    )
    config.architectures = ["Qwen2_5OmniForConditionalGeneration"]
    config.save_pretrained(folder)
    GenerationConfig(eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id).save_pretrained(folder)
    _save_processor(new_processor(tokenizer), tokenizer, folder)


def _save_processor(processor: Qwen2_5OmniProcessor, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    processor.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    processor.video_processor.save_pretrained(folder)  # vLLM reads it for videos given by URL
    # the two would overwrite each other's preprocessor_config.json; readers ignore unknown keys
    both = processor.image_processor.to_dict() | processor.feature_extractor.to_dict()
    _write_json(folder / "preprocessor_config.json", both)
    # the processor takes `size` for videos from here; without it every video is enlarged to 100 352 pixels
    path = folder / "tokenizer_config.json"
    _write_json(path, json.loads(path.read_text()) | {"size": PIXELS})


def _write_json(path: Path, value: dict) -> None:
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n")


def load(folder: str | Path) -> tuple[Thinker, PreTrainedTokenizerFast]:
    """Model (float32, in eval mode) and tokenizer of a checkpoint written by `save`. ValueError for another architecture."""
    folder = Path(folder)
    config = json.loads((folder / "config.json").read_text())["thinker_config"]
    model = Thinker(Qwen2_5OmniThinkerConfig(**config))
    weights = load_file(folder / "model.safetensors")
    missing, extra = model.load_state_dict(
        {name.removeprefix("thinker."): value.float() for name, value in weights.items()}, strict=False
    )
    if extra or set(missing) - {"lm_head.weight"}:
        raise ValueError(
            f"{folder} has another architecture: unexpected weights {extra}, missing weights {missing}; run `make model`"
        )
    model.tie_weights()
    return model.eval(), PreTrainedTokenizerFast.from_pretrained(folder)
