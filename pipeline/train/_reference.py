"""Reference log-probabilities, under the model that training starts from: computed once, before the first step."""

from collections.abc import Callable, Sequence

import torch

from pipeline.modeling.batch import parts
from pipeline.modeling.encode import Encoded
from pipeline.modeling.logps import token_logps
from pipeline.train._plan import Plan
from schemas.errors import TrainError

AGAIN = 4  # pairs that are recomputed one at a time, as a check


def reference(model, pairs: Sequence[Encoded], plan: Plan, noise: float, progress: Callable) -> list[torch.Tensor]:
    """For each pair a tensor [tokens of chosen, then tokens of rejected], natural log.

    TrainError if a pair computed alone differs by more than `noise` from the same pair in a batch."""
    found: dict[int, torch.Tensor] = {}
    together = []
    for rows in parts(range(len(pairs)), [pair.size(plan.shared) for pair in pairs], plan.tokens):
        found |= zip(rows, _compute(model, [pairs[i] for i in rows], plan), strict=True)
        together += rows if len(rows) > 1 else []
        progress(len(found), len(pairs), "reference log-probabilities")
    for i in together[:: max(1, len(together) // AGAIN)]:
        (alone,) = _compute(model, [pairs[i]], plan)
        if (alone - found[i]).abs().max() > noise:
            raise TrainError(
                f"the reference of {pairs[i].id} depends on the batch it is computed in, because the model attends to padding; it cannot be trained here"
            )
    return [found[i] for i in range(len(pairs))]


@torch.no_grad()
def _compute(model, pairs: Sequence[Encoded], plan: Plan) -> list[torch.Tensor]:
    batch = plan.collate([pair.prompt for pair in pairs], [pair.answers for pair in pairs], model.device)
    values = token_logps(model, batch)[batch.place].cpu()
    return list(values.split([sum(map(len, pair.answers)) for pair in pairs]))
