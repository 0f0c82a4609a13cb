"""Reference log-probabilities, under the model that training starts from: computed once, before the first step."""

from collections.abc import Callable, Sequence

import torch

from pipeline.modeling.batch import collate
from pipeline.modeling.encode import Encoded
from pipeline.modeling.logps import token_logps
from schemas.errors import TrainError

ROWS = 64  # pairs per forward pass
AGAIN = 4  # pairs that are recomputed one at a time, as a check


def reference(model, pairs: Sequence[Encoded], shared: bool, noise: float, progress: Callable) -> list[torch.Tensor]:
    """For each pair a tensor [tokens of chosen, then tokens of rejected], natural log.

    TrainError if a pair computed alone differs by more than `noise` from the same pair in a batch."""
    found: dict[int, torch.Tensor] = {}
    order = sorted(range(len(pairs)), key=lambda i: len(pairs[i].prompt.ids))
    for start in range(0, len(order), ROWS):
        rows = order[start : start + ROWS]
        found |= zip(rows, _compute(model, [pairs[i] for i in rows], shared), strict=True)
        progress(start + len(rows), len(pairs), "reference log-probabilities")
    for i in order[:: max(1, len(order) // AGAIN)]:
        (alone,) = _compute(model, [pairs[i]], shared)
        if (alone - found[i]).abs().max() > noise:
            raise TrainError(
                f"the reference of {pairs[i].id} depends on the batch it is computed in, because the model attends to padding; it cannot be trained here"
            )
    return [found[i] for i in range(len(pairs))]


@torch.no_grad()
def _compute(model, pairs: Sequence[Encoded], shared: bool) -> list[torch.Tensor]:
    batch = collate([pair.prompt for pair in pairs], [pair.answers for pair in pairs], shared).to(model.device)
    values = token_logps(model, batch)[batch.place].cpu()
    return list(values.split([sum(map(len, pair.answers)) for pair in pairs]))
