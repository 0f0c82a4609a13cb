"""Loading a model for training, and saving it in the layout of its source folder."""

import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForMultimodalLM,
    Qwen2_5OmniThinkerForConditionalGeneration,
)
from transformers.models.auto.modeling_auto import MODEL_FOR_MULTIMODAL_LM_MAPPING
from transformers.pytorch_utils import Conv1D

from pipeline.modeling.positions import number_as_vllm
from schemas.errors import TrainError
from schemas.published import public_text
from schemas.text import error_line

TOWERS = {"vision": "image", "audio": "audio"}  # name in recipes -> modality in transformers
PREFIX = "thinker."  # prefix of the thinker's weights in a full Omni checkpoint
WEIGHTS = ("*.safetensors", "*.safetensors.index.json", "*.bin", "*.bin.index.json")


def load(folder: str):
    """The model in float32 and eval mode (dropout off), on the GPU if there is one. TrainError if transformers cannot load it, it writes no
    text, or its files lack weights.

    Of a full Qwen2.5-Omni only the thinker is loaded, which reads all media and writes the text."""
    try:
        config = AutoConfig.from_pretrained(folder)
        model, found = _class_of(config).from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise TrainError(f"transformers cannot load {folder}: {error_line(error)}") from error
    if model.get_output_embeddings() is None:
        raise TrainError(
            f"transformers loads {folder} as {type(model).__name__}, which writes no text; use another model"
        )
    if missing := found["missing_keys"]:
        raise TrainError(
            f"{folder} lacks {len(missing)} weights of {type(model).__name__}, for example {min(missing)}; use a complete language model"
        )
    number_as_vllm(model)
    return model.eval().to("cuda" if torch.cuda.is_available() else "cpu")


def _class_of(config) -> Any:
    """The class that loads a model for training."""
    if _is_omni(config):
        return Qwen2_5OmniThinkerForConditionalGeneration
    return AutoModelForMultimodalLM if type(config) in MODEL_FOR_MULTIMODAL_LM_MAPPING else AutoModelForCausalLM


def freeze(model, towers: Iterable[str]) -> None:
    """Freezes the named towers (keys of TOWERS); does nothing for a tower that the model does not have."""
    for name in towers:
        tower = model.get_encoder(modality=TOWERS[name])
        if tower is not model:
            tower.requires_grad_(False)


def adapt(model, rank: int):
    """The model with LoRA adapters of `rank` on all linear layers of its decoder; only the adapters are trained."""
    from peft import LoraConfig, get_peft_model

    linear = torch.nn.Linear, Conv1D
    inside = {id(module) for module in model.get_decoder().modules() if isinstance(module, linear)}
    names = [name for name, module in model.named_modules() if id(module) in inside]
    return get_peft_model(model, LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=names))


def merge(model):
    """The model with its adapters merged into the weights; a model without adapters unchanged."""
    return model.merge_and_unload() if hasattr(model, "merge_and_unload") else model


def save(model, source: str | Path, folder: Path) -> None:
    """Writes `folder`: the source's files with the trained weights under the same names and types. Hidden files are not copied; secrets,
    servers and local paths are removed from cards and configurations. TrainError if a trained weight is not in the source."""
    source = Path(source)
    folder.mkdir(parents=True, exist_ok=True)
    for path in source.iterdir():
        if path.is_file() and path.name[0] != "." and not any(path.match(pattern) for pattern in WEIGHTS):
            if path.suffix.lower() == ".md":
                (folder / path.name).write_text(public_text(path.read_text(errors="replace")))
            elif path.name.endswith("config.json"):
                (folder / path.name).write_bytes(_without_local_paths(path.read_bytes()))
            else:
                shutil.copyfile(path, folder / path.name)
    if _is_omni(AutoConfig.from_pretrained(source)):
        _replace({PREFIX + name: weight for name, weight in model.named_parameters()}, source, folder)
    else:
        config = (folder / "config.json").read_bytes()
        model.to(AutoConfig.from_pretrained(source).dtype or torch.float32).save_pretrained(folder)
        (folder / "config.json").write_bytes(config)


def _without_local_paths(config: bytes) -> bytes:
    """A configuration without the local paths that libraries write into it; the same bytes if there are none."""
    found = json.loads(config)
    cleaned = {
        key: public_text(value) if key.endswith("name_or_path") and isinstance(value, str) else value
        for key, value in found.items()
    }
    return config if cleaned == found else json.dumps(cleaned, indent=2).encode()


def _is_omni(config) -> bool:
    return config.model_type == "qwen2_5_omni"


def _replace(trained: dict[str, torch.Tensor], source: Path, folder: Path) -> None:
    """Copies the source's weight files, with the trained weights in place of those of the same name."""
    missing = set(trained)
    for path in source.glob("*.safetensors.index.json"):
        shutil.copyfile(path, folder / path.name)
    for path in source.glob("*.safetensors"):
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
            metadata = file.metadata()
        for name in missing & set(tensors):
            tensors[name] = trained[name].detach().to("cpu", tensors[name].dtype).contiguous()
        missing -= set(tensors)
        save_file(tensors, folder / path.name, metadata)
    if missing:
        raise TrainError(
            f"cannot save: {len(missing)} trained weights are not in the files of {source}, for example {min(missing)}; "
            "train from a complete checkpoint"
        )
