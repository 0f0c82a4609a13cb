"""How long a context vLLM gets on a CPU, and how much memory for its keys and values, as far as the settings do not say.

On a GPU vLLM takes a share of its memory; on a CPU that share would be taken from other programs, and vLLM refuses a model whose longest
request does not fit."""

from typing import Any, NamedTuple

from pipeline.engines.local.device import available_memory
from schemas.errors import EngineError

PROMPT = 8_192  # tokens of a prompt, media included, that fit by default beside the longest answer
ENOUGH = 512  # the same where memory is scarce: with less, no model is loaded
LEAST = 128 << 20  # bytes of keys and values by default, if there is that much
SHARE = 0.5  # of the memory that the weights leave free
BLOCK = 128  # tokens that vLLM stores together on a CPU


class Sizes(NamedTuple):
    """Sizes of a model."""

    own: int
    """maximum tokens of prompt and answer together"""
    token_bytes: int
    """keys and values of one token, over all layers"""
    weight_bytes: int

    def kv_bytes(self, tokens: int) -> int:
        """Bytes that a request of so many tokens needs: whole blocks, and one that vLLM keeps for itself."""
        return (-(-tokens // BLOCK) + 1) * BLOCK * self.token_bytes

    def tokens(self, kv_bytes: int) -> int:
        """Tokens of the longest request that fits into so many bytes, at most the model's own limit; 0 if none does."""
        return max(0, min(self.own, (kv_bytes // (BLOCK * self.token_bytes) - 1) * BLOCK))


class Context(NamedTuple):
    """What an engine is started with."""

    tokens: int
    """maximum tokens of prompt and answer together"""
    kv_bytes: int
    """size of the key-value cache"""
    sizes: Sizes
    """of the model"""


def fitted(sizes: Sizes, settings: Any, longest: int, free: int | None = None) -> Context:
    """The context of a model. `settings` of the engine, `longest`: maximum tokens of an answer in the run, `free`: bytes of memory, by default
    what this process can still allocate.

    The cache holds a request of PROMPT tokens and the longest answer, or of `max_model_len`, and at least LEAST bytes, but takes at most SHARE of
    what the weights leave free. The context is what fits into it. EngineError, with values that would do, if that is less than `max_model_len`
    or not ENOUGH."""
    wanted, kv_bytes = settings.max_model_len, settings.kv_cache_memory_bytes
    if kv_bytes is None:
        free = available_memory() if free is None else free
        room = int(SHARE * max(0, free - sizes.weight_bytes))
        kv_bytes = min(room, max(LEAST, sizes.kv_bytes(min(sizes.own, wanted or PROMPT + longest))))
        least = min(sizes.own, wanted or ENOUGH + longest)
        if sizes.tokens(kv_bytes) < least:
            raise EngineError(_too_little(sizes, settings, free, least))
    return Context(wanted or sizes.tokens(kv_bytes) or sizes.own, kv_bytes, sizes)


def _too_little(sizes: Sizes, settings: Any, free: int, wanted: int) -> str:
    kv_bytes = int(SHARE * max(0, free - sizes.weight_bytes))
    need = sizes.kv_bytes(wanted)
    remedies = [f"set kv_cache_memory_bytes: {need}"] if sizes.weight_bytes + need < free else []
    if fits := sizes.tokens(kv_bytes):
        remedies.append(f"set max_model_len: {fits}")
    if not fits or not remedies:
        remedies.append(f"free {mib(sizes.weight_bytes + int(need / SHARE) - free)} of memory, or take a smaller model")
    return (
        f"vLLM cannot load {settings.model}: {wanted:,} tokens need {mib(need)} of key-value cache beside about {mib(sizes.weight_bytes)} of weights, "
        f"and {mib(free)} of memory are free; {' or '.join(remedies)}"
    )


def mib(size: int) -> str:
    """A number of bytes in MiB, rounded up."""
    return f"{-(-size >> 20):,} MiB"
