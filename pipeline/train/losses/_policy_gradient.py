"""What GRPO learns from (Shao 2024): rewards of answers, not pairs."""

import torch


def advantages(rewards: torch.Tensor) -> torch.Tensor:
    """[prompts, n] rewards, normalised among the answers to each prompt; 0 where all are equal (Shao 2024)."""
    centred = rewards - rewards.mean(1, keepdim=True)
    return centred / (rewards.std(1, keepdim=True) + 1e-4)


def policy_gradient(policy: torch.Tensor, mask: torch.Tensor, advantage: torch.Tensor) -> torch.Tensor:
    """Scalar: GRPO's loss for one update a sampling, where the ratio is 1 and nothing is clipped.

    policy, mask [answers, tokens], advantage [answers]; mean over all tokens."""
    return -(policy * advantage[:, None] * mask).sum() / mask.sum()
