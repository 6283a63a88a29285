"""Networks, losses and data sets of users, as they come."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def weighted(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy in which the second class counts 50 times as much."""
    return F.cross_entropy(logits, labels, weight=torch.tensor([1.0, 50.0], device=logits.device))
