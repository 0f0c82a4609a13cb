"""How batches are computed: whether answers share their prompt, and how many tokens at a time."""

import ctypes
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch.autograd.graph import saved_tensors_hooks

from pipeline.modeling import batch
from pipeline.modeling.encode import Encoded, Prompt
from pipeline.modeling.logps import token_logps

MEASURED = 64  # tokens of a prompt and of each answer, at most, by which memory is measured


class Plan(NamedTuple):
    """Decided once before the first step, so that the same run computes the same parts."""

    shared: bool  # a prompt's answers are in one row
    tokens: int  # most tokens with padding that are computed at a time, except for a larger single row

    def collate(self, prompts: Sequence[Prompt], answers: Sequence[Sequence[list[int]]], device) -> batch.Batch:
        """A Batch on the device, for which freed memory makes room."""
        give_back_memory()
        return batch.collate(prompts, answers, self.shared).to(device)

    def recompute(self, of: batch.Batch) -> bool:
        """Whether a Batch is too large to be kept for the backward pass."""
        return of.size > self.tokens


def plan(model, pairs: Sequence[Encoded], shared: bool, memory: float) -> Plan:
    """The plan for batches of such pairs within `memory` GB."""
    one = _begin(min(pairs, key=lambda pair: pair.size(shared)))
    return Plan(shared, max(1, int(memory * 1e9 / kept_per_token(model, one, shared))))


def _begin(pair: Encoded) -> Encoded:
    """The beginnings of its prompt, unless that shows media, and of its answers."""
    prompt, (chosen, rejected) = pair.prompt, pair.answers
    if not (prompt.media or prompt.types):
        prompt = prompt._replace(ids=prompt.ids[:MEASURED])
    return pair._replace(prompt=prompt, answers=(chosen[:MEASURED], rejected[:MEASURED]))


def kept_per_token(model, pair: Encoded, shared: bool) -> float:
    """Bytes per token that a forward pass of a pair keeps for its backward pass, without the weights."""
    weights = {shape for weight in model.parameters() for shape in (weight.shape, weight.shape[::-1])}
    kept: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.shape not in weights:
            storage = tensor.untyped_storage()
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    one = batch.collate([pair.prompt], [pair.answers], shared).to(model.device)
    with saved_tensors_hooks(note, lambda tensor: tensor):
        logps = token_logps(model, one)
    total = sum(kept.values())
    del logps  # until here, so that no storage is freed and its address used again
    return total / one.size


def give_back_memory() -> None:
    """Returns freed memory to the system, where glibc would keep it: parts of several sizes fill each other's holes badly, and it grew to 2 GB."""
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
        trim(0)
