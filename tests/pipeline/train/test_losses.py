import pytest
import torch

from pipeline.train.losses._policy_gradient import advantages, policy_gradient
from pipeline.train.losses._side import Side, sft
from pipeline.train.losses.dpo import loss as dpo

# chosen: tokens became likelier by .5 and .5, so the log-ratio is 1; rejected: by -1. The second token of rejected is padding.
CHOSEN = Side(torch.tensor([[-1.0, -2.0]]), torch.tensor([[-1.5, -2.5]]), torch.ones(1, 2))
REJECTED = Side(torch.tensor([[-3.0, 0.0]]), torch.tensor([[-2.0, 0.0]]), torch.tensor([[1.0, 0.0]]))


def test_dpo_is_the_log_sigmoid_of_the_scaled_difference_of_the_log_ratios():
    # beta .5: margin .5 * (1 - -1) = 1, loss ln(1 + e^-1) = 0.313262
    assert dpo(CHOSEN, REJECTED, 0.5).tolist() == pytest.approx([0.313262], abs=1e-6)


def test_dpo_of_a_model_that_has_not_moved_is_ln_2():
    still = Side(CHOSEN.reference, CHOSEN.reference, CHOSEN.mask)
    assert dpo(still, still, 0.1).tolist() == pytest.approx([0.693147], abs=1e-6)


def test_label_smoothing_weighs_in_the_loss_of_the_swapped_pair():
    # swapped: margin -1, loss ln(1 + e^1) = 1.313262; 0.9 * 0.313262 + 0.1 * 1.313262 = 0.413262
    assert dpo(CHOSEN, REJECTED, 0.5, 0.1).tolist() == pytest.approx([0.413262], abs=1e-6)


def test_sft_is_the_mean_over_all_tokens_not_over_answers():
    # two answers with 2 and 1 tokens: (1 + 2 + 3) / 3
    policy = torch.tensor([[-1.0, -2.0], [-3.0, 0.0]])
    assert float(sft(Side(policy, policy, torch.tensor([[1.0, 1.0], [1.0, 0.0]])), 3)) == pytest.approx(2.0)


def test_advantages_compare_the_answers_to_one_prompt_with_each_other_only():
    # first prompt: mean .5, standard deviation sqrt(((.5)^2 + (.5)^2) / 1) = .707107; .5 / .707207 = .707007. Second: no spread
    rewards = torch.tensor([[1.0, 0.0], [5.0, 5.0]])
    assert advantages(rewards).tolist() == [pytest.approx([0.707007, -0.707007], abs=1e-6), [0.0, 0.0]]


def test_the_policy_gradient_pushes_up_what_is_better_than_its_siblings():
    # tokens: -1 * 2, -2 * 2 of the good answer, -3 * -1 of the bad one; -(-2 - 4 + 3) / 3 tokens = 1
    policy = torch.tensor([[-1.0, -2.0], [-3.0, -9.0]], requires_grad=True)
    mask = torch.tensor([[1.0, 1.0], [1.0, 0.0]])
    loss = policy_gradient(policy, mask, torch.tensor([2.0, -1.0]), 3)
    assert float(loss.detach()) == pytest.approx(1.0)
    loss.backward()
    # the gradient of a token is minus its advantage over 3 tokens, and nothing on padding
    assert policy.grad.flatten().tolist() == pytest.approx([-2 / 3, -2 / 3, 1 / 3, 0.0])
