"""Direct Preference Optimization (Rafailov 2023)."""

import torch
import torch.nn.functional as F

from pipeline.train.losses._side import Side


def loss(chosen: Side, rejected: Side, beta: float, label_smoothing: float = 0.0) -> torch.Tensor:
    """[pairs] minus the log sigmoid of `beta` times the margin; `label_smoothing`, the share of wrong labels, makes it cDPO (Mitchell 2023)."""
    margin = beta * (chosen.ratio - rejected.ratio)
    return -(1 - label_smoothing) * F.logsigmoid(margin) - label_smoothing * F.logsigmoid(-margin)
