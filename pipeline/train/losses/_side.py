"""Inputs of the losses on pairs."""

from typing import NamedTuple

import torch


class Side(NamedTuple):
    """The chosen or the rejected answers of a batch of pairs. Log-probabilities are natural, 0 outside the mask."""

    policy: torch.Tensor  # [pairs, tokens] log-probabilities under the model in training
    reference: torch.Tensor  # [pairs, tokens] under the model it started from
    mask: torch.Tensor  # [pairs, tokens] 1.0 on the answer's tokens

    @property
    def ratio(self) -> torch.Tensor:
        """[pairs] log-ratio of the whole answer's probability under the policy and the reference."""
        return (self.policy - self.reference).sum(1)


def sft(chosen: Side, tokens: int) -> torch.Tensor:
    """Scalar: negative log-probability of the chosen answers' tokens, as a share of the mean over the `tokens` chosen ones of the whole
    batch, of which these are a part; added to any loss with the weight `sft`."""
    return -chosen.policy.sum() / tokens
