"""What this machine or its GPU has for models: memory, and a processor that computes in bfloat16."""

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import psutil

from pipeline.modeling.checkpoint import cached_folder

MOST = 0.95  # maximum share of a GPU's memory for all models
MOST_OF_MACHINE = 0.5  # the same of the machine's memory, where other programs run too
WEIGHTS = (".safetensors", ".bin", ".pt")
BFLOAT16 = frozenset({"avx512_bf16", "amx_bf16", "bf16"})  # flags of processors that compute in it (the last: Arm)
GROUPS = {"": ("memory.max", "memory.current", "inactive_file"),
          "memory": ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")}  # fmt: skip
"""control groups of version 2 and 1 -> their files for the limit and the use of memory, and what of the use is only cached files"""


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


def computes_bfloat16(cpuinfo: str | None = None) -> bool:
    """Whether the processor computes in bfloat16, and so faster than in float32. `cpuinfo`: the text of /proc/cpuinfo, by default this machine's."""
    if cpuinfo is None:
        cpuinfo = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    flags = re.search(r"^(?:flags|Features)\s*:(.*)$", cpuinfo, re.MULTILINE)
    return flags is not None and not BFLOAT16.isdisjoint(flags[1].split())


def available_memory(root: Path = Path("/")) -> int:
    """Bytes that this process can still allocate: free in the machine, and in its control groups (containers). `root`: of the file system
    that describes these."""
    return min([psutil.virtual_memory().available, *(max(0, limit - used) for limit, used in _groups(root))])


def total_memory(root: Path = Path("/")) -> int:
    """Bytes of the machine's memory, or of what its control groups allow this process."""
    return min([psutil.virtual_memory().total, *(limit for limit, _ in _groups(root))])


def _groups(root: Path) -> Iterator[tuple[int, int]]:
    """(limit, use) in bytes of each control group of this process that limits memory, and of those above it."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for controllers, path in (line.split(":", 2)[1:] for line in lines):
        if controllers not in GROUPS:
            continue
        limit, used, cached = GROUPS[controllers]
        top = root / "sys/fs/cgroup" / controllers
        inner = top / path.strip("/")
        # within a container, the path may be that outside of it
        for folder in [inner, *inner.parents][: len(inner.relative_to(top).parts) + 1]:
            try:
                free = re.search(rf"^{cached} (\d+)$", (folder / "memory.stat").read_text(), re.MULTILINE)
                most, held = (folder / limit).read_text().strip(), int((folder / used).read_text())
            except (OSError, ValueError):
                continue
            if most != "max":
                yield int(most), held - (int(free[1]) if free else 0)


def fits_in_memory(shares: Iterable[float]) -> bool:
    """Whether models that need these shares (0..1 each) of the device's memory fit together."""
    return sum(shares) <= (MOST if has_gpu() else MOST_OF_MACHINE)


def share_of(model: str, revision: str | None, beside: int) -> float:
    """The share of this machine's memory that a model needs with `beside` bytes of caches. Weights count twice, as they may be expanded
    to float32. 1.0 if unknown, because the model has not been downloaded."""
    weights = weight_bytes(model, revision)
    return (2 * weights + beside) / total_memory() if weights else 1.0


def weight_bytes(model: str, revision: str | None) -> int:
    """Bytes of a model's weights on disk; 0 if it has not been downloaded."""
    folder = cached_folder(model, revision)
    return sum(path.stat().st_size for path in folder.iterdir() if path.suffix in WEIGHTS) if folder else 0
