"""The memory that models live in, this machine's or its GPU's: what a process holds, what is free, which models fit together."""

import os
from collections.abc import Iterable
from pathlib import Path

import psutil

from pipeline.modeling.checkpoint import cached_folder

MOST = 0.95  # of a GPU's memory that models may share
MOST_OF_MACHINE = 0.5  # of the machine's, where other programs live too
WEIGHTS = (".safetensors", ".bin", ".pt")


def has_gpu() -> bool:
    """Whether engines find a CUDA GPU, told without loading torch."""
    return os.environ.get("CUDA_VISIBLE_DEVICES") != "" and any(Path("/dev").glob("nvidia[0-9]*"))


def memory_in_use() -> dict[str, tuple[int, int]]:
    """What this process holds and what is free, in bytes: of `memory`, and of `GPU memory` where engines use one."""
    found = {"memory": (psutil.Process().memory_info().rss, psutil.virtual_memory().available)}
    if has_gpu():
        import torch

        if torch.cuda.is_available():
            found["GPU memory"] = (torch.cuda.memory_reserved(), torch.cuda.mem_get_info()[0])
    return found


def fit(shares: Iterable[float]) -> bool:
    """Whether models that take these shares of the device's memory fit into it together."""
    return sum(shares) <= (MOST if has_gpu() else MOST_OF_MACHINE)


def share_of(model: str, revision: str | None, beside: int) -> float:
    """The share of this machine's memory that a model takes with `beside` bytes of caches: its weights count twice, for they
    may be unpacked to float32. 1 where it is not known, since the model was not downloaded."""
    folder = cached_folder(model, revision)
    if folder is None:
        return 1.0
    weights = sum(path.stat().st_size for path in folder.iterdir() if path.suffix in WEIGHTS)
    return (2 * weights + beside) / psutil.virtual_memory().total if weights else 1.0
