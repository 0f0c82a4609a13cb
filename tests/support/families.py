"""Tiny models with random weights of the families that read videos, as folders that transformers and vLLM load."""

from pathlib import Path

import torch
import transformers as hf
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

VISION = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
OMNI = {
    "image_token": "<|IMAGE|>", "video_token": "<|VIDEO|>", "audio_token": "<|AUDIO|>",
    "vision_bos_token": "<|vision_bos|>", "vision_eos_token": "<|vision_eos|>",
    "audio_bos_token": "<|audio_bos|>", "audio_eos_token": "<|audio_eos|>",
}  # fmt: skip
INTERN = {
    "start_image_token": "<img>", "end_image_token": "</img>", "context_image_token": "<IMG_CONTEXT>", "video_token": "<video>",
}  # fmt: skip
SPECIAL = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", *VISION, *OMNI.values(), "<image>", *INTERN.values(),
)  # fmt: skip
TEMPLATE = """{%- for m in messages -%}
<|im_start|>{{ m.role }}
{% if m.content is string %}{{ m.content }}{% else %}{% for c in m.content %}{% if c.type == 'image' %}IMAGE{% elif c.type == 'video' %}VIDEO\
{% else %}{{ c.text }}{% endif %}{% endfor %}{% endif %}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
QWEN = TEMPLATE.replace("IMAGE", "<|vision_start|><|image_pad|><|vision_end|>").replace(
    "VIDEO", "<|vision_start|><|video_pad|><|vision_end|>"
)
SIDES = {"shortest_edge": 56 * 56, "longest_edge": 112 * 112}  # pixels of a picture or frame


def build(name: str, folder: Path) -> str:
    """The folder of a model of one of FAMILIES, the same each time."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    FAMILIES[name](folder)
    return str(folder)


def _qwen2_vl(folder: Path) -> None:
    tokenizer = _tokenizer()
    vision = {"depth": 2, "embed_dim": 64, "hidden_size": 64, "num_heads": 2, "mlp_ratio": 2, "patch_size": 14}
    config = hf.Qwen2VLConfig(text_config=_text(tokenizer), vision_config=vision, **_ids(tokenizer))
    processor = hf.Qwen2VLProcessor(
        hf.Qwen2VLImageProcessor(size=dict(SIDES)), tokenizer, hf.Qwen2VLVideoProcessor(size=dict(SIDES))
    )
    _save(hf.Qwen2VLForConditionalGeneration(config), processor, QWEN, folder)


def _qwen2_5_vl(folder: Path) -> None:
    tokenizer = _tokenizer()
    vision = _vision(patch_size=14, window_size=112, fullatt_block_indexes=[1], tokens_per_second=2)
    config = hf.Qwen2_5_VLConfig(text_config=_text(tokenizer), vision_config=vision, **_ids(tokenizer))
    processor = hf.Qwen2_5_VLProcessor(
        hf.Qwen2VLImageProcessor(size=dict(SIDES)), tokenizer, hf.Qwen2VLVideoProcessor(size=dict(SIDES))
    )
    _save(hf.Qwen2_5_VLForConditionalGeneration(config), processor, QWEN, folder)


def _qwen3_vl(folder: Path) -> None:
    tokenizer = _tokenizer()
    text = _text(tokenizer) | {"head_dim": 32}
    text["rope_parameters"] |= {"mrope_interleaved": True}
    vision = _vision(patch_size=16, num_position_embeddings=256, deepstack_visual_indexes=[0])
    config = hf.Qwen3VLConfig(text_config=text, vision_config=vision, **_ids(tokenizer))
    image = hf.Qwen2VLImageProcessor(size=dict(SIDES), patch_size=16, image_mean=[0.5] * 3, image_std=[0.5] * 3)
    video = hf.Qwen3VLVideoProcessor(size={"shortest_edge": 2 * 64 * 64, "longest_edge": 64 * 64 * 64})
    _save(hf.Qwen3VLForConditionalGeneration(config), hf.Qwen3VLProcessor(image, tokenizer, video), QWEN, folder)


def _qwen2_5_omni(folder: Path) -> None:
    tokenizer = _tokenizer(OMNI)
    token = tokenizer.convert_tokens_to_ids
    media = {name: token(f"<|{name.upper()}|>") for name in ("image", "video", "audio")}
    ends = {
        "vision_start": "vision_bos",
        "vision_end": "vision_eos",
        "audio_start": "audio_bos",
        "audio_end": "audio_eos",
    }
    thinker = {
        "text_config": _text(tokenizer),
        "vision_config": _vision(patch_size=14, window_size=112, fullatt_block_indexes=[1]),
        "audio_config": {
            "num_mel_bins": 32, "encoder_layers": 1, "encoder_attention_heads": 2, "encoder_ffn_dim": 64, "d_model": 64,
            "output_dim": 64, "n_window": 100,
        },
        **{f"{name}_token_{end}": i for name, i in media.items() for end in ("id", "index")},
        **{f"{name}_token_id": token(f"<|{mark}|>") for name, mark in ends.items()},
        "pad_token_id": tokenizer.pad_token_id,
    }  # fmt: skip
    processor = hf.Qwen2_5OmniProcessor(
        hf.Qwen2VLImageProcessor(size=dict(SIDES)), hf.Qwen2VLVideoProcessor(size=dict(SIDES)),
        hf.WhisperFeatureExtractor(feature_size=32, return_attention_mask=True), tokenizer,
    )  # fmt: skip
    template = TEMPLATE.replace("IMAGE", "<|vision_bos|><|IMAGE|><|vision_eos|>")
    template = template.replace("VIDEO", "<|vision_bos|><|VIDEO|><|vision_eos|>")
    config = hf.Qwen2_5OmniConfig(thinker_config=thinker, enable_audio_output=False)
    # the processor's own size for videos, 128 times as large, overrides the saved one; that of the tokenizer's settings overrides both
    tokenizer.init_kwargs["size"] = dict(SIDES)
    _save(hf.Qwen2_5OmniForConditionalGeneration(config), processor, template, folder)


def _llava_onevision(folder: Path) -> None:
    tokenizer = _tokenizer()
    pins, side = [[56, 56], [56, 112]], {"height": 56, "width": 56}
    vision = {
        "model_type": "siglip_vision_model", "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
        "num_attention_heads": 2, "patch_size": 14, "image_size": 56, "vision_use_head": False,
    }  # fmt: skip
    text = _text(tokenizer) | {"model_type": "qwen2", "rope_parameters": {"rope_type": "default", "rope_theta": 1e4}}
    image, video = (tokenizer.convert_tokens_to_ids(name) for name in ("<image>", "<video>"))
    config = hf.LlavaOnevisionConfig(
        text_config=text, vision_config=vision, image_token_index=image, video_token_index=video,
        image_grid_pinpoints=pins,
    )  # fmt: skip
    processor = hf.LlavaOnevisionProcessor(
        hf.LlavaOnevisionImageProcessor(size=side, image_grid_pinpoints=pins), tokenizer,
        hf.LlavaOnevisionVideoProcessor(size=side), num_image_tokens=16, vision_feature_select_strategy="full",
    )  # fmt: skip
    template = TEMPLATE.replace("IMAGE", "<image>\n").replace("VIDEO", "<video>\n")
    _save(hf.LlavaOnevisionForConditionalGeneration(config), processor, template, folder)
    weights = load_file(folder / "model.safetensors")  # under the names of published models, which vLLM expects
    for new, published in (
        ("language_model.model.model.", "language_model.model."),
        ("vision_tower.", "vision_tower.vision_model."),
    ):
        weights = {name.replace(new, published) if name.startswith(new) else name: w for name, w in weights.items()}
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def _internvl(folder: Path) -> None:
    tokenizer, side = _tokenizer(INTERN), {"height": 56, "width": 56}
    text = _text(tokenizer) | {"model_type": "qwen2", "rope_parameters": {"rope_type": "default", "rope_theta": 1e4}}
    vision = {
        "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2, "patch_size": [14, 14],
        "image_size": [56, 56],
    }  # fmt: skip
    place = tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>")
    config = hf.InternVLConfig(text_config=text, vision_config=vision, image_token_id=place)
    image = hf.GotOcr2ImageProcessor(size=side, crop_to_patches=False)
    processor = hf.InternVLProcessor(image, tokenizer, hf.InternVLVideoProcessor(size=side), image_seq_length=4)
    template = TEMPLATE.replace("IMAGE", "<IMG_CONTEXT>\n").replace("VIDEO", "<video>\n")
    _save(hf.InternVLForConditionalGeneration(config), processor, template, folder)


FAMILIES = {
    "qwen2_vl": _qwen2_vl, "qwen2_5_vl": _qwen2_5_vl, "qwen2_5_omni": _qwen2_5_omni, "qwen3_vl": _qwen3_vl,
    "llava_onevision": _llava_onevision, "internvl": _internvl,
}  # fmt: skip


def _tokenizer(extra: dict[str, str] | None = None) -> hf.PreTrainedTokenizerFast:
    """One token a byte, and the special ones."""
    words = [*SPECIAL, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    bytewise = Tokenizer(models.BPE(vocab={word: i for i, word in enumerate(words)}, merges=[]))
    bytewise.add_special_tokens(list(SPECIAL))
    bytewise.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bytewise.decoder = decoders.ByteLevel()
    return hf.PreTrainedTokenizerFast(
        tokenizer_object=bytewise, eos_token="<|im_end|>", pad_token="<|endoftext|>", model_max_length=4096,
        additional_special_tokens=[name for name in SPECIAL if name not in ("<|im_end|>", "<|endoftext|>")],
        extra_special_tokens=extra or {},
    )  # fmt: skip


def _text(tokenizer) -> dict:
    """Two layers with heads of 32, the smallest that vLLM computes on a CPU."""
    return {
        "vocab_size": len(tokenizer), "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
        "num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 4096,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [4, 6, 6]},
        "bos_token_id": None, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id,
        "initializer_range": 0.2, "tie_word_embeddings": False,
    }  # fmt: skip


def _vision(**more) -> dict:
    return {"depth": 2, "hidden_size": 64, "out_hidden_size": 64, "num_heads": 2, "intermediate_size": 128} | more


def _ids(tokenizer) -> dict[str, int]:
    """The ids of VISION, under the names of Qwen's configurations."""
    names = ("vision_start_token_id", "vision_end_token_id", "image_token_id", "video_token_id")
    return dict(zip(names, map(tokenizer.convert_tokens_to_ids, VISION), strict=True)) | {"tie_word_embeddings": False}


def _save(model, processor, template: str, folder: Path) -> None:
    tokenizer = processor.tokenizer
    model.float().save_pretrained(folder)
    processor.chat_template = tokenizer.chat_template = template
    processor.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    hf.GenerationConfig(eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id).save_pretrained(
        folder
    )
