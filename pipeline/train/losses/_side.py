"""What losses on pairs are given."""

from typing import NamedTuple

import torch


class Side(NamedTuple):
    """The chosen or the rejected answers of a batch of pairs."""

    policy: torch.Tensor  # [pairs, tokens] log-probabilities under the model in training
    reference: torch.Tensor  # [pairs, tokens] under the model it started from
    mask: torch.Tensor  # [pairs, tokens] 1.0 on the answer's tokens

    @property
    def ratio(self) -> torch.Tensor:
        """[pairs] log of how much likelier the whole answer has become."""
        return (self.policy - self.reference).sum(1)


def sft(chosen: Side) -> torch.Tensor:
    """Scalar: mean negative log-probability of the chosen answers' tokens, which any loss may be added to by its weight."""
    return -chosen.policy.sum() / chosen.mask.sum()
