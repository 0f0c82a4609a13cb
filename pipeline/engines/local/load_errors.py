"""What vLLM's refusals to load a model mean: one line with the setting that helps and a value that would do.

The patterns are those of vLLM 0.32; a text that none matches is passed on whole."""

import math
import re
from collections.abc import Callable
from typing import Any

from pipeline.engines.local.device import weight_bytes

GIB = 1 << 30
ROUNDED = 0.01  # GiB: vLLM's figures have two decimals
MOST_OF_GPU = 0.97  # highest share of a GPU's memory that is proposed
LONGEST = 1_000  # characters of a text that is passed on

Remedy = Callable[[re.Match, Any], str]
"""(the match, the engine's settings) -> cause and remedy"""


def explained(error: Exception, settings: Any) -> str:
    """Cause and remedy of an error that vLLM raised while it loaded a model with these settings, in one line."""
    text = whole(error)
    for pattern, remedy in REMEDIES:
        if found := re.search(pattern, text):
            return remedy(found, settings)
    return text[:LONGEST]


def whole(error: Exception) -> str:
    """The whole text of an error in one line, without what pydantic puts around it; after the name of its class unless that says nothing."""
    reasons = getattr(error, "errors", None)
    if callable(reasons):
        text = "; ".join(str(reason.get("msg", "")).removeprefix("Value error, ") for reason in reasons())
    else:
        text = str(error)
    text = " ".join(text.split())
    return text if text and isinstance(error, ValueError) else f"{type(error).__name__}: {text}".removesuffix(": ")


def _cache_too_small(found: re.Match, settings: Any) -> str:
    tokens, need, has = int(found[1]), float(found[2]), float(found[3])
    lacks = need - has + 2 * ROUNDED
    remedies = []
    if settings.kv_cache_memory_bytes:
        remedies.append(f"kv_cache_memory_bytes: {settings.kv_cache_memory_bytes + math.ceil(lacks * GIB)}")
    elif (share := _share_with(settings, lacks)) <= MOST_OF_GPU:
        remedies.append(f"gpu_memory_utilization: {share}")
    if found[4]:
        remedies.append(f"max_model_len: {found[4]}")
    remedy = f"set {' or '.join(remedies)}" if remedies else SMALLER
    return f"a request of {tokens:,} tokens needs {need} GiB of key-value cache, and it has {max(has, 0)} GiB; {remedy}"


def _share_with(settings: Any, more: float) -> float:
    """`gpu_memory_utilization` with so many GiB more; above 1 without a GPU."""
    import torch

    if not torch.cuda.is_available():
        return 2.0
    total = torch.cuda.mem_get_info()[1] / GIB
    return math.ceil(100 * (settings.gpu_memory_utilization + more / total)) / 100


def _no_room(found: re.Match, settings: Any) -> str:
    higher = "" if settings.gpu_memory_utilization >= MOST_OF_GPU else f"set gpu_memory_utilization: {MOST_OF_GPU}, or "
    return f"its weights leave no memory for the key-value cache; {higher}{SMALLER}"


def _gpu_is_used(found: re.Match, settings: Any) -> str:
    free, total, wanted = found[1], found[2], found[3]
    share = math.floor(100 * float(free) / float(total)) / 100
    return (
        f"{free} of {total} GiB of the GPU's memory are free, and gpu_memory_utilization: {settings.gpu_memory_utilization} asks for {wanted}; "
        f"set gpu_memory_utilization: {share}, or end what else uses the GPU"
    )


def _memory_is_used(found: re.Match, settings: Any) -> str:
    return (
        f"{found[1]} GiB of memory are free, and its key-value cache takes {found[2]}; set kv_cache_memory_bytes: "
        f"{int(float(found[1]) * GIB) // 2}, or end other programs"
    )


def _too_long(found: re.Match, settings: Any) -> str:
    return f"max_model_len: {found[1]} is more than the model's own limit; set max_model_len: {int(float(found[2]))}, or remove it"


def _slots(found: re.Match, settings: Any) -> str:
    return f"slots: {found[2]} is more than the {found[1]} tokens that vLLM computes at a time; set slots: {found[1]}"


def _heads(found: re.Match, settings: Any) -> str:
    heads, wanted = int(found[1]), int(found[2])
    fits = next(n for n in range(wanted, 0, -1) if heads % n == 0)
    return f"its {heads} attention heads cannot be split over tensor_parallel_size: {wanted}; set tensor_parallel_size: {fits}"


def _gpus(found: re.Match, settings: Any) -> str:
    return f"tensor_parallel_size: {found[1]} needs more GPUs than there are; set tensor_parallel_size: {found[2]}"


def _dtype(found: re.Match, settings: Any) -> str:
    return f"dtype: {settings.dtype} is unknown; set dtype: auto, float32, bfloat16 or float16"


def _half(found: re.Match, settings: Any) -> str:
    return f"{found[0]}; set dtype: {'float16' if 'float16' not in settings.dtype or 'bfloat16' in settings.dtype else 'bfloat16'}"


def _memory(found: re.Match, settings: Any) -> str:
    weights = weight_bytes(settings.model, settings.revision) / GIB
    fewer = f"set slots: {settings.slots // 2} and enforce_eager: true, or " if settings.slots > 1 else ""
    return f"out of memory ({found[0]}; its weights are {weights:.2f} GiB on disk); {fewer}{SMALLER}"


def _architecture(found: re.Match, settings: Any) -> str:
    return f"this vLLM does not know its architecture ({found[1]}); update vLLM, or use the engine hf"


def _code(found: re.Match, settings: Any) -> str:
    return "it needs code of its own, which is not run here; start `vllm serve --trust-remote-code` and use the engine openai"


SMALLER = (
    "take a smaller model, a larger machine, or dtype: bfloat16, or set tensor_parallel_size: 2 if there is another GPU"
)
REMEDIES: tuple[tuple[str, Remedy], ...] = (
    (
        r"max seq len \((\d+)\), \(([\d.]+) GiB KV cache is needed, .*?cache memory \((-?[\d.]+) GiB\)(?:.*?maximum model length is (\d+))?",
        _cache_too_small,
    ),
    (r"No available memory for the cache blocks|not enough GPU memory available", _no_room),
    (r"Free memory on device \S+ \(([\d.]+)/([\d.]+) GiB\) on startup is less than .*?, ([\d.]+) GiB\)", _gpu_is_used),
    (r"Available memory on node \S+ \(([\d.]+)/[\d.]+ GiB\) on kv cache .*?for kv \(([\d.]+)", _memory_is_used),
    (r"User-specified max_model_len \((\d+)\) is greater than the derived max_model_len \(\w+=([\d.]+)", _too_long),
    (r"max_num_batched_tokens \((\d+)\) must be greater than or equal to max_num_seqs \((\d+)\)", _slots),
    (r"attention heads \((\d+)\) must be divisible by tensor parallel size \((\d+)\)", _heads),
    (r"World size \((\d+)\) is larger than the number of available GPUs \((\d+)\)", _gpus),
    (r"Unknown dtype|Input should be 'auto', 'half'", _dtype),
    (r"The model type \S+ does not support float16|Bfloat16 is only supported on GPUs[^.]*", _half),
    (r"(?i)[\w ]*out of memory|can't allocate memory|bad_alloc|MemoryError", _memory),
    (r"Model architectures \[(.*?)\] are not supported", _architecture),
    (r"model type `?'?([\w.-]+)`?'? but Transformers does not recognize", _architecture),
    (r"trust_remote_code", _code),
)
