"""Memory for models, of this machine or its GPU: used by this process, free, and which models fit together."""

import os
from collections.abc import Iterable
from pathlib import Path

import psutil

from pipeline.modeling.checkpoint import cached_folder

MOST = 0.95  # maximum share of a GPU's memory for all models
MOST_OF_MACHINE = 0.5  # the same of the machine's memory, where other programs run too
WEIGHTS = (".safetensors", ".bin", ".pt")


def has_gpu() -> bool:
    """Whether engines will find a CUDA GPU; does not import torch."""
    return os.environ.get("CUDA_VISIBLE_DEVICES") != "" and any(Path("/dev").glob("nvidia[0-9]*"))


def memory_in_use() -> dict[str, tuple[int, int]]:
    """{`memory`: (used by this process, free)} in bytes; `GPU memory` likewise if there is a GPU."""
    found = {"memory": (psutil.Process().memory_info().rss, psutil.virtual_memory().available)}
    if has_gpu():
        import torch

        if torch.cuda.is_available():
            found["GPU memory"] = (torch.cuda.memory_reserved(), torch.cuda.mem_get_info()[0])
    return found


def fits_in_memory(shares: Iterable[float]) -> bool:
    """Whether models that need these shares (0..1 each) of the device's memory fit together."""
    return sum(shares) <= (MOST if has_gpu() else MOST_OF_MACHINE)


def share_of(model: str, revision: str | None, beside: int) -> float:
    """The share of this machine's memory that a model needs with `beside` bytes of caches. Weights count twice, as they may be expanded
    to float32. 1.0 if unknown, because the model has not been downloaded."""
    folder = cached_folder(model, revision)
    if folder is None:
        return 1.0
    weights = sum(path.stat().st_size for path in folder.iterdir() if path.suffix in WEIGHTS)
    return (2 * weights + beside) / psutil.virtual_memory().total if weights else 1.0
