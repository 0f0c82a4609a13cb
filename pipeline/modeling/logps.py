"""Log-probabilities of answers, for any transformers model whose decoder accepts a 4-D attention mask.

The model's own forward merges media into the prompt and numbers positions as usual. Two hooks change what it passes on: the decoder gets the
mask that separates the answers of a row, and positions that restart with each answer; the head gets only the hidden states that predict an
answer token."""

from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager

import torch
import torch.nn.functional as F

from pipeline.modeling.batch import Batch


def token_logps(model, batch: Batch) -> torch.Tensor:
    """[answers, tokens] natural log-probabilities of the answers' tokens given prompt and media; 0 after the end of an answer."""
    with ExitStack() as hooks:
        hooks.enter_context(replace_head_input(model, lambda hidden: hidden.flatten(0, 1)[batch.source]))
        if batch.sees is not None and batch.shift is not None:
            hooks.enter_context(_apart(model, batch.sees, batch.shift))
        hooks.enter_context(autocast(model))
        logits = model(**batch.inputs, use_cache=False).logits
    logps = -F.cross_entropy(logits.float(), batch.target, reduction="none")
    return logps.new_zeros(batch.shape).index_put(batch.place, logps)


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


@contextmanager
def _apart(model, sees: torch.Tensor, shift: torch.Tensor) -> Generator[None]:
    def separate(_, args, kwargs):
        positions = kwargs.get("position_ids")
        if positions is None:
            positions = torch.arange(shift.shape[1], device=shift.device).expand_as(shift)
        return args, kwargs | {"attention_mask": sees, "position_ids": positions - shift}

    hook = model.get_decoder().register_forward_pre_hook(separate, with_kwargs=True)
    try:
        yield
    finally:
        hook.remove()
