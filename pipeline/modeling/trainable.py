"""Whether a model can be trained, by its small files alone: an early look, without torch. The trainer looks again when it loads the model."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from schemas.errors import TrainError

WRITERS = (
    "ForCausalLM",
    "LMHeadModel",
    "ForConditionalGeneration",
    "ModelWithLMHead",
    "OmniModel",
    "ForVisionText2Text",
    "Omni_Reasoning_V3",
)
"""endings of the classes that write text"""
PROCESSORS = ("processor_config.json", "preprocessor_config.json", "video_preprocessor_config.json")
FILES = ("config.json", "tokenizer_config.json", "chat_template.jinja", "chat_template.json", *PROCESSORS)


def look(folder: Path) -> None:
    """TrainError if the model in a folder writes no text, has an encoder of its own for prompts, or has no chat template. A folder without
    configuration tells nothing."""
    config, tokenizer = _json(folder / "config.json"), _json(folder / "tokenizer_config.json")
    classes = config.get("architectures") or []
    if classes and not any(name.endswith(WRITERS) for name in classes):
        raise TrainError(f"{folder} is a {classes[0]}, which does not write text; train a language model")
    if config.get("is_encoder_decoder"):
        raise TrainError(f"{folder} reads prompts by an encoder of its own; train a model with a decoder only")
    template = tokenizer.get("chat_template") or any((folder / name).is_file() for name in FILES[2:4])
    if tokenizer and not template and "chat_template" not in _json(folder / PROCESSORS[0]):
        raise TrainError(
            f"{folder} has no chat template; train a model that was tuned to chat, or add chat_template.jinja to its folder"
        )


def refuse_media(folder: Path, kinds: Mapping[str, int]) -> None:
    """TrainError if a text-only model would be trained on rows with media. `kinds`: kind of a sample -> number of rows."""
    media = sum(count for kind, count in kinds.items() if kind != "text")
    if media and reads_only_text(folder):
        raise TrainError(
            f"{folder} reads only text, but {media:,} of {sum(kinds.values()):,} rows show media ({', '.join(k for k in kinds if k != 'text')}); "
            "train a multimodal model, or leave these rows out"
        )


def reads_only_text(folder: Path) -> bool:
    """Whether a model has no processor for media. False if its configuration is not in the folder."""
    return (folder / "config.json").is_file() and not any((folder / name).is_file() for name in PROCESSORS)


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
