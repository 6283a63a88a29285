"""Whether an optimizer descends: the direction of its first measured update, before it remembers other steps."""

from __future__ import annotations

import math
from typing import Any

from torch.optim import Optimizer

from pipeline.signals.recorder import StepSampler

SIGMAS = 5.0
"""Standard errors 1 / sqrt(n) by which the cosine must differ from that of a random direction in n dimensions."""
MAX_DECAY = 0.1
"""Share of the gradient, and of the update, that weight decay may have: it has a direction of its own."""


class FirstUpdate:
    """Measures `update_direction` once, at a step whose measurement waits for the device anyway."""

    def __init__(self) -> None:
        self.signals: dict[str, Any] = {}
        self._is_fresh = False
        self._passes_before = 0

    def before(self, optimizer: Optimizer, passes: int) -> None:
        """Note whether the optimizer has a memory before a measured update; `passes` backward passes were recorded."""
        self._is_fresh = not self.signals and not any(optimizer.state.values())
        self._passes_before = passes

    def after(self, optimizer: Optimizer, sampler: StepSampler, passes: int) -> None:
        """Compare the update with the gradient; `passes` as in `before`. An update of several passes has no direction.

        A method that evaluates the loss at several points, as a line search does, makes several passes.
        """
        if not self._is_fresh or passes - self._passes_before > 1:
            return
        self._is_fresh = False
        cosine, weights = sampler.update_direction(), sum(p.numel() for p in sampler.weights.tensors)
        if abs(cosine) * math.sqrt(weights) > SIGMAS and not _is_decayed(optimizer, sampler):
            self.signals = {"update_direction": cosine}


def _is_decayed(optimizer: Optimizer, sampler: StepSampler) -> bool:
    """Return whether weight decay has a visible part in the update, coupled to the gradient or apart from it."""
    decay = max(float(group.get("weight_decay") or 0.0) for group in optimizer.param_groups)
    if decay == 0:
        return False
    is_apart = all(group.get("decoupled_weight_decay") for group in optimizer.param_groups)
    rate = max(float(group.get("lr") or 0.0) for group in optimizer.param_groups)
    weight, gradient, update = (
        float(norms.norm()) for norms in (sampler.weight_norms, sampler.gradient_norms, sampler.update_norms)
    )
    applied = 1.0 if sampler.applied_gradient is None else float(sampler.applied_gradient)
    is_in_gradient = not is_apart and decay * weight > MAX_DECAY * applied * gradient
    return is_in_gradient or rate * decay * weight > MAX_DECAY * update
