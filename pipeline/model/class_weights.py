"""The weight of each class or label in a loss."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pipeline import validation
from pipeline.errors import UserError

BALANCED = "balanced"
ClassWeight = str | Sequence[float] | None


def check_weight(weight: ClassWeight) -> ClassWeight:
    """Return `weight`; raise `UserError` unless it is None, balanced, or a list of numbers above 0."""
    if weight is None or weight == BALANCED:
        return weight
    if isinstance(weight, str) or not isinstance(weight, Sequence):
        raise UserError(f"expected balanced or a list with a number for each class, got {weight!r}.", field="weight")
    return list(validation.numbers("weight", weight, above=0))


def class_weights(weight: str | Sequence[float], balanced: Tensor) -> Tensor:
    """Return the weights (C,) float64: `balanced`, or those of the list, which must be as many."""
    if isinstance(weight, str):
        return balanced
    if len(weight) != len(balanced):
        raise UserError(f"there are {len(balanced)} classes, but {len(weight)} weights.", field="weight")
    return torch.tensor(weight, dtype=torch.float64)
