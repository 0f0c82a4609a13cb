"""The seeing model: SmolLM2-135M-Instruct behind a small picture tower, a LLaVA checkpoint that transformers and vLLM load.

What is trained (tower, projector, low-rank adapter) is stored apart from the base, whose weights come from a package: `assemble` merges both."""

import json
from pathlib import Path

import numpy as np
import torch
from peft import LoraConfig, get_peft_model, set_peft_model_state_dict
from peft.utils import get_peft_model_state_dict
from safetensors.torch import load_file, save_file
from transformers import (
    GenerationConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
    SiglipImageProcessor,
    SiglipVisionConfig,
)

PATCH = 16  # pixels
SIDE = 64  # pixels; every picture is resized to this
TOKENS = (SIDE // PATCH) ** 2  # of a picture
IMAGE, RESERVED = "<image>", "<repo_name>"  # the placeholder takes a reserved token: the vocabulary keeps its size
LENGTH = 8192  # tokens of context
RANK = 16
ADAPTED = range(
    10, 30
)  # layers of the base with low-rank parts; those below pass on words, which is what a picture's tokens are
LINEARS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
UNUSED = "model.vision_tower.encoder.layers.4."  # LLaVA reads the layer before the last: four of the five
PARTS, ADAPTER = "eyes.safetensors", "adapter.safetensors"
ON_DISK = {"model.vision_tower.": "model.vision_tower.vision_model."}  # vLLM wants the second, transformers reads both
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% if m['content'] is string %}{{ m['content'] }}{% else %}"
    "{% for p in m['content'] %}{% if p['type'] == 'image' %}<image>\n{% else %}{{ p['text'] }}{% endif %}{% endfor %}{% endif %}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def new_tokenizer(base: Path) -> PreTrainedTokenizerFast:
    """The base's tokenizer, in which a reserved token stands for a picture."""
    from tokenizers import Tokenizer

    text = (base / "tokenizer.json").read_text().replace(json.dumps(RESERVED), json.dumps(IMAGE))
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(text), bos_token="<|im_start|>", eos_token="<|im_end|>", pad_token="<|endoftext|>",
        unk_token="<|endoftext|>", chat_template=TEMPLATE, padding_side="left", extra_special_tokens={"image_token": IMAGE},
        model_max_length=LENGTH,
    )  # fmt: skip


def new_model(base: Path, seed: int) -> LlavaForConditionalGeneration:
    """The base behind a tower with random weights, in float32."""
    torch.manual_seed(seed)
    text = json.loads((base / "config.json").read_text())
    vision = SiglipVisionConfig(
        hidden_size=192, intermediate_size=576, num_hidden_layers=5, num_attention_heads=6, image_size=SIDE,
        patch_size=PATCH, vision_use_head=False,
    )  # fmt: skip
    config = LlavaConfig(
        vision_config=vision,
        text_config=LlamaConfig(
            **{name: value for name, value in text.items() if name not in ("architectures", "dtype")}
        ),
        image_token_index=new_tokenizer(base).convert_tokens_to_ids(IMAGE),
        vision_feature_select_strategy="full",
        vision_feature_layer=-2,
        image_seq_length=TOKENS,
        tie_word_embeddings=True,
    )
    model = LlavaForConditionalGeneration(config)
    weights = load_file(base / "model.safetensors").items()
    _load(model, {"model.language_model." + name.removeprefix("model."): value for name, value in weights})
    model.tie_weights()
    return model.eval()


def with_adapter(model: LlavaForConditionalGeneration):
    """`model` in a PEFT model with low-rank parts on the linears of the layers ADAPTED, the only weights that learn."""
    layers, linears = "|".join(map(str, ADAPTED)), "|".join(LINEARS)
    config = LoraConfig(
        r=RANK, lora_alpha=2 * RANK, target_modules=rf".*language_model\.layers\.({layers})\..*\.({linears})"
    )
    return get_peft_model(model, config)


def save_eyes(model: LlavaForConditionalGeneration, folder: Path) -> None:
    """Writes tower and projector, without the layer that nothing reads."""
    folder.mkdir(parents=True, exist_ok=True)
    seen = {
        name: value.to(torch.float16).contiguous()
        for name, value in model.state_dict().items()
        if ("vision_tower" in name or "multi_modal_projector" in name) and not name.startswith(UNUSED)
    }
    save_file(seen, folder / PARTS)


def save_adapter(adapted, folder: Path) -> None:
    """Writes the low-rank parts of `with_adapter`."""
    save_file(
        {name: value.to(torch.float16).contiguous() for name, value in get_peft_model_state_dict(adapted).items()},
        folder / ADAPTER,
    )


def load(base: Path, parts: Path):
    """The seeing model with its adapter, not merged; without one in `parts` its low-rank parts are zero. float32."""
    model = new_model(base, 0)
    _load(model, load_file(parts / PARTS))
    adapted = with_adapter(model)
    if (parts / ADAPTER).exists():
        found = load_file(parts / ADAPTER)
        missing = set(get_peft_model_state_dict(adapted)) ^ set(found)
        if missing:
            raise ValueError(
                f"{parts / ADAPTER} has another architecture: {sorted(missing)[:3]}; run `make model-real`"
            )
        set_peft_model_state_dict(adapted, {name: value.float() for name, value in found.items()})
    return adapted.eval()


def assemble(base: Path, parts: Path, out: Path) -> None:
    """Writes the complete checkpoint. The low-rank parts are merged in float32 before they are rounded to float16."""
    model = load(base, parts).merge_and_unload()
    weights = {}
    for name, value in model.state_dict().items():
        if name != "lm_head.weight":  # tied to the embeddings
            for here, there in ON_DISK.items():
                name = name.replace(here, there)
            weights[name] = value.detach().to(torch.float16).contiguous()
    out.mkdir(parents=True, exist_ok=True)
    save_file(weights, out / "model.safetensors", {"format": "pt"})
    model.config.architectures, model.config.dtype = ["LlavaForConditionalGeneration"], torch.float16
    model.config.save_pretrained(out)
    tokenizer = new_tokenizer(base)
    GenerationConfig(eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id).save_pretrained(out)
    image = SiglipImageProcessor(size={"height": SIDE, "width": SIDE})
    LlavaProcessor(
        image, tokenizer, patch_size=PATCH, vision_feature_select_strategy="full", chat_template=TEMPLATE,
        num_additional_image_tokens=0,
    ).save_pretrained(out)  # fmt: skip
    image.save_pretrained(out)
    tokenizer.save_pretrained(out)


def see(model: LlavaForConditionalGeneration, pictures: list) -> torch.Tensor:
    """RGB pictures of SIDE x SIDE pixels -> float32 [pictures, TOKENS, width]: what LLaVA puts in the place of the image tokens."""
    values = np.stack([np.asarray(picture, np.float32) for picture in pictures]).transpose(0, 3, 1, 2) / 127.5 - 1
    tower = model.model.vision_tower
    states = tower.embeddings(torch.from_numpy(values))
    for layer in tower.encoder.layers[:-1]:
        states = layer(states, None)
    return model.model.multi_modal_projector(states)


def _load(model: LlavaForConditionalGeneration, weights: dict[str, torch.Tensor]) -> None:
    _, extra = model.load_state_dict({name: value.float() for name, value in weights.items()}, strict=False)
    if extra:
        raise ValueError(f"weights of another architecture: {sorted(extra)[:3]}; run `make model-real`")
