"""Statistics of the outputs of one activation: over all values of a batch, and per unit."""

from __future__ import annotations

import torch
from torch import Tensor

from pipeline.signals.aten_ops import BOUNDED

SATURATION_MARGIN = 0.02
"""A value is saturated within this share of the function's range from a bound; tanh' is 0.08 there, sigmoid' 0.02."""

STATISTICS = ("mean", "std", "unit_std", "zero", "saturated", "positive")
_SATURATED = STATISTICS.index("saturated")


def unit_axis(values: Tensor) -> int:
    """Return the axis of the units: channels, or the last axis of (N, T, D)."""
    return 2 if values.ndim == 3 else 1


def never_active(values: Tensor) -> Tensor:
    """Return (units,): whether all outputs of a unit of a rectifier are 0.

    No output is negative, so this is so if and only if their sum is 0. Unlike the maximum, the sum is fast in every
    memory layout: 7 ms for 500 maps of 16 x 32 x 32, channels last, instead of 52.
    """
    axes = [axis for axis in range(values.ndim) if axis != unit_axis(values)]
    return values.sum(axes) == 0


def compute_statistics(values: Tensor, kind: str, *, saturated_only: bool) -> Tensor:
    """Return (6,), in the order of `STATISTICS`, for the outputs a (N, units, ...) or (N, T, units) of an activation.

    `mean`; `std` = root of mean (a - mean)^2; `unit_std` = root of the mean over units of the variance of that unit
    over examples and positions, which is the part of `std` that depends on the input; `zero`, `positive`: shares of
    values that are 0, above 0; `saturated`: share of values near a bound, NaN for kinds without two bounds. With
    `saturated_only` all others are NaN.
    """
    statistics = values.new_full((len(STATISTICS),), torch.nan)
    if kind in BOUNDED:
        low, high = BOUNDED[kind]
        margin = SATURATION_MARGIN * (high - low)
        statistics[_SATURATED] = ((values < low + margin) | (values > high - margin)).sum() / values.numel()
    if saturated_only:
        return statistics
    rows = values.movedim(unit_axis(values), 0).flatten(1)
    unit_means = rows.mean(1, keepdim=True)
    within = (rows - unit_means).square().mean()
    mean = unit_means.mean()
    between = (unit_means - mean).square().mean()
    zero = (rows == 0).sum() / rows.numel()
    positive = (rows > 0).sum() / rows.numel()
    return torch.stack([mean, (within + between).sqrt(), within.sqrt(), zero, statistics[_SATURATED], positive])
