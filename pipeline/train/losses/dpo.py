"""Direct Preference Optimization (Rafailov 2023)."""

import torch
import torch.nn.functional as F

from pipeline.train.losses._side import Side


def loss(chosen: Side, rejected: Side, beta: float, label_smoothing: float = 0.0) -> torch.Tensor:
    """[pairs] -log sigmoid(beta * (log-ratio of chosen - log-ratio of rejected)).

    `label_smoothing`, 0..0.5, is the assumed share of wrong labels and makes it cDPO (Mitchell 2023)."""
    margin = beta * (chosen.ratio - rejected.ratio)
    return -(1 - label_smoothing) * F.logsigmoid(margin) - label_smoothing * F.logsigmoid(-margin)
