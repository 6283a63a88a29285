"""Learning rates that differ from layer to layer, under any schedule."""

from __future__ import annotations

from typing import Any

from torch.optim import Optimizer

from pipeline.model.layer_depth import RATE_FACTOR

_RATE_OF_SCHEDULE = "rate_of_schedule"


def apply_rate_factors(optimizer: Optimizer) -> Optimizer:
    """Let each step use the rate of a group times its `rate_factor`; return the optimizer.

    Outside of a step the rates are those of the schedule, the same in all groups, so every schedule, also one that
    sets a rate instead of multiplying it, gives each layer its share. The rates may be tensors on a device.
    """
    if any(group.get(RATE_FACTOR, 1.0) != 1.0 for group in optimizer.param_groups):
        optimizer.register_step_pre_hook(_scale)
        optimizer.register_step_post_hook(_restore)
    return optimizer


def _scale(optimizer: Optimizer, *_: Any) -> None:
    for group in optimizer.param_groups:
        group[_RATE_OF_SCHEDULE] = group["lr"]
        group["lr"] = group["lr"] * group[RATE_FACTOR]


def _restore(optimizer: Optimizer, *_: Any) -> None:
    for group in optimizer.param_groups:
        group["lr"] = group.pop(_RATE_OF_SCHEDULE)
