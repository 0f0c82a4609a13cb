"""Log-probabilities of answers, for any transformers model whose decoder accepts a 4-D attention mask.

The model's own forward merges media into the prompt and numbers positions as usual. Hooks change what it passes on: the decoder gets the
mask that separates the answers of a row, and positions that restart with each answer; the head gets only hidden states that predict an
answer token, a few at a time, so that the logits of a large vocabulary are never all in memory."""

import copy
import inspect
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager, nullcontext
from functools import partial

import torch
import torch.nn.functional as F
from torch.utils.checkpoint import checkpoint
from transformers.modeling_layers import GradientCheckpointingLayer

from pipeline.modeling.batch import Batch

LOGITS = 1 << 24  # most logits in memory at a time: 64 MB in float32


def token_logps(model, batch: Batch, recompute: bool = False) -> torch.Tensor:
    """[answers, tokens] natural log-probabilities of the answers' tokens given prompt and media; 0 after the end of an answer.

    `recompute`: of the decoder's layers only the inputs are kept for the backward pass, which computes them again: a third slower, with
    the same results."""
    decoded: list = []
    hidden: list[torch.Tensor] = []

    def pick(states: torch.Tensor) -> torch.Tensor:
        hidden.append(states.flatten(0, 1)[batch.source])
        return hidden[0][:1]

    with ExitStack() as hooks:
        keep = model.get_decoder().register_forward_hook(lambda module, args, out: decoded.append(out))
        hooks.callback(keep.remove)
        hooks.enter_context(replace_head_input(model, pick))
        if batch.sees is not None and batch.shift is not None:
            hooks.enter_context(_apart(model, batch.sees, batch.shift))
        hooks.enter_context(_recomputed(model) if recompute else nullcontext())
        hooks.enter_context(autocast(model))
        model(**batch.inputs, use_cache=False)
    head = partial(_head, model, decoded[0])
    size = max(1, LOGITS // model.get_output_embeddings().weight.shape[0])
    parts = zip(hidden[0].split(size), batch.target.split(size), strict=True)
    if torch.is_grad_enabled() and not model.get_output_embeddings().weight.requires_grad:
        logps = torch.cat([_Frozen.apply(states, target, head) for states, target in parts])
    else:
        logps = torch.cat([checkpoint(_logps, *part, head, use_reentrant=False) for part in parts])
    return logps.new_zeros(batch.shape).index_put(batch.place, logps)


def _logps(hidden: torch.Tensor, target: torch.Tensor, head: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    """[tokens] log-probabilities of target [tokens] after hidden [tokens, width]."""
    return -F.cross_entropy(head(hidden).float(), target, reduction="none")


class _Frozen(torch.autograd.Function):
    """`_logps` under a head that is not trained. A token's log-probability depends on its own hidden state only, so that its slope can be
    kept instead of its logits, and no logits are computed again."""

    @staticmethod
    def forward(ctx, hidden, target, head):
        with torch.enable_grad():
            states = hidden.detach().requires_grad_()
            logps = _logps(states, target, head)
            (slope,) = torch.autograd.grad(logps.sum(), states)
        ctx.save_for_backward(slope)
        return logps.detach()

    @staticmethod
    def backward(ctx, *gradients):
        (slope,) = ctx.saved_tensors
        return gradients[0][:, None] * slope, None, None


def _head(model, decoded, hidden: torch.Tensor) -> torch.Tensor:
    """[tokens, vocabulary] logits of hidden [tokens, width], with all that the model's own forward does to them, such as scaling. `decoded`:
    an output of its decoder, which is not run."""
    out = copy.copy(decoded)
    out.last_hidden_state = out["last_hidden_state"] = hidden[None]
    decoder = model.get_decoder()
    decoder.forward = lambda *args, **kwargs: out
    try:
        with autocast(model):
            token = torch.zeros(1, 1, dtype=torch.long, device=hidden.device)
            return model(input_ids=token, use_cache=False).logits[0]
    finally:
        del decoder.forward


def answer_mask(batch: Batch) -> torch.Tensor:
    """[answers, tokens] 1.0 for tokens of an answer, 0.0 after its end."""
    ones = torch.ones(len(batch.target), device=batch.target.device)
    return ones.new_zeros(batch.shape).index_put(batch.place, ones)


def autocast(model) -> torch.autocast:
    """bfloat16 arithmetic on a GPU, the weights' float32 on a CPU."""
    return torch.autocast(model.device.type, torch.bfloat16, enabled=model.device.type == "cuda")


@contextmanager
def replace_head_input(model, pick: Callable[[torch.Tensor], torch.Tensor]) -> Generator[None]:
    """Within the context, the language-model head gets pick(hidden) instead of hidden [rows, length, width]."""
    hook = model.get_output_embeddings().register_forward_pre_hook(lambda _, args: (pick(args[0]),))
    try:
        yield
    finally:
        hook.remove()


def takes_positions(model) -> bool:
    """Whether the decoder can be told the positions of its tokens. Without it, answers cannot share a row."""
    return "position_ids" in inspect.signature(model.get_decoder().forward).parameters


@contextmanager
def _apart(model, sees: torch.Tensor, shift: torch.Tensor) -> Generator[None]:
    # as numbers: each layer would make and keep its own numbers of truth values
    dtype = torch.bfloat16 if model.device.type == "cuda" else model.dtype
    mask = torch.zeros_like(sees, dtype=dtype).masked_fill_(~sees, -torch.inf)

    def separate(_, args, kwargs):
        positions = kwargs.get("position_ids")
        if positions is None:
            positions = torch.arange(shift.shape[1], device=shift.device).expand_as(shift)
        return args, kwargs | {"attention_mask": mask, "position_ids": positions - shift}

    hook = model.get_decoder().register_forward_pre_hook(separate, with_kwargs=True)
    try:
        yield
    finally:
        hook.remove()


@contextmanager
def _recomputed(model) -> Generator[None]:
    """Within the context, the decoder's layers keep their inputs only. transformers' own switch would need training mode, with dropout."""
    layers = [layer for layer in model.get_decoder().modules() if isinstance(layer, GradientCheckpointingLayer)]
    for layer in layers:
        layer.forward = partial(checkpoint, layer.forward, use_reentrant=False)
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward
