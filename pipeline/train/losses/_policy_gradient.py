"""GRPO's loss (Shao 2024), on rewards of answers instead of pairs."""

import torch


def advantages(rewards: torch.Tensor) -> torch.Tensor:
    """[prompts, n] rewards -> [prompts, n] advantages: normalised over the answers to each prompt, 0 if all are equal (Shao 2024)."""
    centred = rewards - rewards.mean(1, keepdim=True)
    return centred / (rewards.std(1, keepdim=True) + 1e-4)


def policy_gradient(policy: torch.Tensor, mask: torch.Tensor, advantage: torch.Tensor, tokens: int) -> torch.Tensor:
    """Scalar: GRPO's loss with one update per sampling, where the ratio is 1 and nothing is clipped.

    policy (log-probabilities), mask [answers, tokens], advantage [answers]; as a share of the mean over the `tokens` of the whole batch, of
    which these answers are a part."""
    return -(policy * advantage[:, None] * mask).sum() / tokens
