"""Clipping of gradients between the backward pass and the update."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from torch import nn

from pipeline import validation


@dataclass(frozen=True)
class GradientClipping:
    """What gradients are limited to; None: no limit.

    First each entry g becomes min(max(g, -value), value). Then, where the norm of all gradients together is above
    `norm`, all are scaled by `norm` / (their norm + 1e-6) (Pascanu et al. 2013, On the difficulty of training recurrent
    neural networks). Nothing is read back from the device. Raises `UserError` naming the key of `trainer`.
    """

    norm: float | None = None
    value: float | None = None

    def __post_init__(self) -> None:
        if self.norm is not None:
            validation.number("clip_norm", self.norm, above=0)
        if self.value is not None:
            validation.number("clip_value", self.value, above=0)

    def __bool__(self) -> bool:
        return self.norm is not None or self.value is not None

    def __call__(self, parameters: Iterable[nn.Parameter]) -> None:
        """Clip the gradients of `parameters` in place."""
        parameters = [parameter for parameter in parameters if parameter.grad is not None]
        if not parameters:
            return
        if self.value is not None:
            nn.utils.clip_grad_value_(parameters, self.value)
        if self.norm is not None:
            nn.utils.clip_grad_norm_(parameters, self.norm)
