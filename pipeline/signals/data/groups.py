"""Examples of a split whose group is also trained on."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


def shared_groups(train: Tensor, others: Mapping[str, Tensor]) -> dict[str, int]:
    """Return for each split of `others` how many examples have a group that is among those of `train` (N,)."""
    return {name: int(torch.isin(groups, train).sum()) for name, groups in others.items()}
