"""Losses as pure functions of token log-probabilities. A new loss is one function and one line of LOSSES.

Log-probabilities are natural, [pairs, tokens], 0 behind an answer's end."""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F


class Side(NamedTuple):
    """The chosen or the rejected answers of a batch of pairs."""

    policy: torch.Tensor  # [pairs, tokens] log-probabilities under the model in training
    reference: torch.Tensor  # [pairs, tokens] under the model it started from
    mask: torch.Tensor  # [pairs, tokens] 1.0 on the answer's tokens

    @property
    def ratio(self) -> torch.Tensor:
        """[pairs] log of how much likelier the whole answer has become."""
        return (self.policy - self.reference).sum(1)


def dpo(chosen: Side, rejected: Side, beta: float, label_smoothing: float = 0.0) -> torch.Tensor:
    """[pairs] DPO (Rafailov 2023); `label_smoothing`, the share of wrong labels, makes it cDPO (Mitchell 2023)."""
    margin = beta * (chosen.ratio - rejected.ratio)
    return -(1 - label_smoothing) * F.logsigmoid(margin) - label_smoothing * F.logsigmoid(-margin)


def sft(chosen: Side) -> torch.Tensor:
    """Scalar: mean negative log-probability of the chosen answers' tokens."""
    return -chosen.policy.sum() / chosen.mask.sum()


LOSSES: dict[str, Callable[..., torch.Tensor]] = {"dpo": dpo}


def advantages(rewards: torch.Tensor) -> torch.Tensor:
    """[prompts, n] rewards, normalised among the answers to each prompt; 0 where all are equal (Shao 2024)."""
    centred = rewards - rewards.mean(1, keepdim=True)
    return centred / (rewards.std(1, keepdim=True) + 1e-4)


def policy_gradient(policy: torch.Tensor, mask: torch.Tensor, advantage: torch.Tensor) -> torch.Tensor:
    """Scalar: GRPO's loss for one update a sampling, where the ratio is 1 and nothing is clipped.

    policy, mask [answers, tokens], advantage [answers]; mean over all tokens."""
    return -(policy * advantage[:, None] * mask).sum() / mask.sum()
