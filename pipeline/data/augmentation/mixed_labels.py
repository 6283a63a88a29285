"""The labels of images that are made of two."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class MixedLabels:
    """Example i has `share[i]` of `own[i]` and the rest of `partner[i]`; labels are (B, ...), shares (B,) in [0, 1]."""

    own: Tensor
    partner: Tensor
    share: Tensor

    @property
    def dominant(self) -> Tensor:
        """The label of the larger share of each example; their own where both are equal."""
        is_own = (self.share >= 0.5).view(-1, *[1] * (self.own.ndim - 1))
        return torch.where(is_own, self.own, self.partner)

    def mean_loss(self, per_example: Callable[[Tensor, Tensor], Tensor], logits: Tensor) -> Tensor:
        """Return the mean over i of share_i loss(z_i, own_i) + (1 - share_i) loss(z_i, partner_i)."""
        own, partner = per_example(logits, self.own), per_example(logits, self.partner)
        return (self.share * own + (1 - self.share) * partner).mean()
