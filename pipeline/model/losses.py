"""Losses: logits (N, C), labels (N,) -> the mean over the batch; `per_example` gives the (N,) terms of that mean."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline import validation
from pipeline.errors import UserError


class Loss(nn.Module):
    """A loss is its value for each example, and what it is before training when all logits are zero."""

    def per_example(self, logits: Tensor, labels: Tensor) -> Tensor:
        """(N, C), (N,) -> (N,)."""
        raise NotImplementedError

    def initial_loss(self, classes: int) -> float | None:
        """The loss of a network whose logits are all zero; None where that is not known."""
        raise NotImplementedError

    def baseline_loss(self, class_frequencies: Tensor) -> float | None:
        """The lowest loss of an answer that does not look at the image, where classes have the `shares` (C,)."""
        return self.initial_loss(len(class_frequencies))

    def without_smoothing(self) -> Loss:
        """The loss without what keeps it from reaching zero, for learning examples by heart; itself by default."""
        return self

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        return self.per_example(logits, labels).mean()


class CrossEntropy(Loss):
    """-sum_j q_j log softmax(z)_j in nats, with q = (1 - s) onehot(y) + s / C for the smoothing s; first loss ln C."""

    def __init__(self, *, label_smoothing: float):
        super().__init__()
        self.label_smoothing = validation.number("label_smoothing", label_smoothing, at_least=0, below=1)

    def per_example(self, logits: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(logits, labels, reduction="none", label_smoothing=self.label_smoothing)

    def initial_loss(self, classes: int) -> float:
        return math.log(classes)

    def baseline_loss(self, shares: Tensor) -> float:
        """The entropy of the labels, smoothed ones where they are smoothed: -sum_j q_j ln q_j."""
        smoothed = (1 - self.label_smoothing) * shares.double() + self.label_smoothing / len(shares)
        return float(-torch.xlogy(smoothed, smoothed).sum())

    def without_smoothing(self) -> CrossEntropy:
        """Without smoothing, under which even a perfect answer costs something."""
        return CrossEntropy(label_smoothing=0.0)


class Hinge(Loss):
    """sum_{j != y} max(0, z_j - z_y + margin), a multiclass SVM (Weston & Watkins 1999); first loss (C - 1) margin."""

    def __init__(self, *, margin: float):
        super().__init__()
        self.margin = validation.number("margin", margin, above=0)

    def per_example(self, logits: Tensor, labels: Tensor) -> Tensor:
        labels = labels.unsqueeze(1)
        violations = (logits - logits.gather(1, labels) + self.margin).clamp(min=0)
        return violations.scatter(1, labels, 0.0).sum(1)

    def initial_loss(self, classes: int) -> float:
        return (classes - 1) * self.margin


class MeanSquaredError(Loss):
    """(1 / C) sum_j (z_j - onehot(y)_j)^2; first loss 1 / C."""

    def per_example(self, logits: Tensor, labels: Tensor) -> Tensor:
        return (logits - F.one_hot(labels, logits.shape[1])).square().mean(1)

    def initial_loss(self, classes: int) -> float:
        return 1 / classes

    def baseline_loss(self, shares: Tensor) -> float:
        """The mean answer p has (1 / C) sum_j p_j (1 - p_j)."""
        return float((shares.double() * (1 - shares.double())).mean())


class CustomLoss(Loss):
    """A user's own `function(logits, labels)`, which reduces as it likes to one number.

    Its first loss is its attribute `initial_loss`, a number or a function of C, where it has one. `per_example` calls
    it on each example alone. Raises `UserError` when it is not callable or does not return one number.
    """

    def __init__(self, *, function: Callable[[Tensor, Tensor], Tensor]):
        super().__init__()
        if not callable(function):
            raise UserError(f"{function!r} cannot be called with (logits, labels).", field="function")
        self.function = function

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        loss = self.function(logits, labels)
        if not isinstance(loss, Tensor) or loss.ndim != 0:
            came = f"shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
            raise UserError(f"a loss is one number, the mean over the batch; it returned {came}.", field="function")
        return loss

    def per_example(self, logits: Tensor, labels: Tensor) -> Tensor:
        return torch.stack([self(z, y) for z, y in zip(logits.split(1), labels.split(1), strict=True)])

    def initial_loss(self, classes: int) -> float | None:
        function = self.function.func if isinstance(self.function, functools.partial) else self.function
        expected = getattr(function, "initial_loss", None)
        if callable(expected):
            expected = expected(classes)
        return None if expected is None else float(expected)
