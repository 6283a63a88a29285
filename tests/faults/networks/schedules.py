"""Users' own schedules, sound ones first: warm-ups, decays, and some whose unit is mistaken.

`eta_min` is a lowest factor, `T_max` a length in moves: the names that the option `cosine` sets.
"""

from __future__ import annotations

import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


class WarmupCosine(LambdaLR):
    """Rise over `warmup` moves, then half a cosine down to zero at move `T_max`."""

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0, warmup: int = 20):
        def factor(step: int) -> float:
            if step < warmup:
                return (step + 1) / warmup
            part = min(1.0, (step - warmup) / max(1, T_max - warmup))
            return max(eta_min, 0.5 * (1 + math.cos(math.pi * part)))

        super().__init__(optimizer, factor)


class InverseRoot(LambdaLR):
    """Rise over `warmup` moves, then fall as 1 / sqrt(move) (Vaswani et al. 2017)."""

    def __init__(self, optimizer: Optimizer, eta_min: float = 0.0, warmup: int = 50):
        super().__init__(optimizer, lambda step: max(eta_min, min((step + 1) / warmup, math.sqrt(warmup / (step + 1)))))


class Linear(LambdaLR):
    """From `start` to `end` in `T_max` moves, then constant."""

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0, start: float = 1.0, end: float = 0.0):
        super().__init__(optimizer, lambda step: max(eta_min, start + (end - start) * min(1.0, step / T_max)))


class Polynomial(LambdaLR):
    """(1 - move / T_max) squared, then zero."""

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0):
        super().__init__(optimizer, lambda step: max(eta_min, (1 - min(1.0, step / T_max)) ** 2))


class NeverWarm(InverseRoot):
    """A warm-up of 50,000 moves, for a run of some hundreds."""

    def __init__(self, optimizer: Optimizer, eta_min: float = 0.0):
        super().__init__(optimizer, eta_min, warmup=50_000)


class DecaysInSteps(LambdaLR):
    """An exponential decay whose time constant is 3 steps where it should be 3 epochs."""

    def __init__(self, optimizer: Optimizer, eta_min: float = 0.0):
        super().__init__(optimizer, lambda step: max(eta_min, math.exp(-step / 3)))


class Triangles(LambdaLR):
    """Up and down between a tenth and the whole rate, once in 60 moves (Smith 2017)."""

    def __init__(self, optimizer: Optimizer, eta_min: float = 0.0):
        super().__init__(optimizer, lambda step: max(eta_min, 1 - 0.9 * abs(step % 60 - 30) / 30))
