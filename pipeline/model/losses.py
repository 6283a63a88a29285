"""Losses: outputs (N, C), labels -> the mean over the batch. `per_example` gives the (N,) terms of that mean.

Labels are (N,) classes; of several labels for one example (N, C) zeros and ones; of targets (N, C) numbers.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline import validation
from pipeline.data.dataset import CLASSIFICATION, TASKS
from pipeline.errors import UserError
from pipeline.model.class_weights import ClassWeight, check_weight, class_weights


class Loss(nn.Module):
    """Interface of a loss: its value for each example, and reference values for an untrained network."""

    tasks: ClassVar[Sequence[str]] = (CLASSIFICATION,)
    """What it can train for."""
    error_power: int = 1
    """The power of the outputs' error with which a large loss grows: 2 for targets' squared error."""

    def per_example(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of each example: logits (N, C), labels (N,) -> (N,)."""
        raise NotImplementedError

    def initial_loss(self, n_classes: int) -> float | None:
        """Return the loss of a network whose logits are all zero, or None where it is not known."""
        raise NotImplementedError

    def baseline_loss(self, class_frequencies: Tensor) -> float | None:
        """Return the lowest loss of logits that do not depend on the image, or None where it is not known.

        `class_frequencies` (C,) sum to 1. By default this is `initial_loss`.
        """
        return self.initial_loss(len(class_frequencies))

    def initial_loss_on(self, labels: Tensor, n_outputs: int) -> float | None:
        """Return the loss of outputs that are all zero, for these `labels`; by default `initial_loss`."""
        return self.initial_loss(n_outputs)

    def baseline_loss_on(self, labels: Tensor, n_outputs: int) -> float | None:
        """Return the lowest loss of outputs that do not depend on the example, for these `labels`."""
        frequencies = torch.bincount(labels, minlength=n_outputs) / len(labels)
        return self.baseline_loss(frequencies)

    def fit_weights(self, labels: Tensor, n_outputs: int) -> Loss:
        """Return the loss with the weights that its options choose for the training `labels`; by default itself."""
        return self

    def without_smoothing(self) -> Loss:
        """Return the loss without anything that keeps it from reaching zero, for overfitting; by default itself."""
        return self

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        return self.per_example(logits, labels).mean()


class CrossEntropy(Loss):
    """-w_y sum_j q_j log softmax(z)_j in nats, with q = (1 - s) onehot(y) + s / C for `label_smoothing` s.

    `weight` w is 1 by default. `balanced` makes it N / (C n_y) for the n_y of N training examples that have the label
    y, so that all classes count the same; a list has a number for each class. Its mean over the training examples is
    made 1, so that it changes no rate. The initial loss is ln C. Raises `UserError` naming the field.
    """

    def __init__(self, *, label_smoothing: float, weight: ClassWeight = None):
        super().__init__()
        self.label_smoothing = validation.number("label_smoothing", label_smoothing, at_least=0, below=1)
        self.weight = check_weight(weight)
        self.class_weights: Tensor | None
        self.register_buffer("class_weights", None, persistent=False)

    def per_example(self, logits: Tensor, labels: Tensor) -> Tensor:
        losses = F.cross_entropy(logits, labels, reduction="none", label_smoothing=self.label_smoothing)
        if self.class_weights is None:
            return losses
        return losses * self.class_weights.to(losses.device).index_select(0, labels)

    def fit_weights(self, labels: Tensor, n_outputs: int) -> CrossEntropy:
        """Return the loss with the weight of each class; raise `UserError` where the list has another length."""
        if self.weight is None:
            return self
        counts = torch.bincount(labels, minlength=n_outputs).double()
        weights = class_weights(self.weight, 1 / counts.clamp(min=1))
        fitted = CrossEntropy(label_smoothing=self.label_smoothing, weight=self.weight)
        fitted.class_weights = (weights * (len(labels) / (weights @ counts))).float()
        return fitted

    def initial_loss(self, n_classes: int) -> float:
        return math.log(n_classes)

    def baseline_loss(self, class_frequencies: Tensor) -> float:
        """Return the entropy of the (smoothed) labels, weighted: -sum_j q_j ln q_j."""
        frequencies = class_frequencies.double()
        if self.class_weights is not None:
            frequencies = frequencies * self.class_weights.double().cpu()
        smoothed = (1 - self.label_smoothing) * frequencies + self.label_smoothing / len(frequencies)
        return float(-torch.xlogy(smoothed, smoothed).sum())

    def without_smoothing(self) -> CrossEntropy:
        """Return the loss with s = 0; with smoothing even perfect logits have a loss above 0."""
        sharp = CrossEntropy(label_smoothing=0.0, weight=self.weight)
        sharp.class_weights = self.class_weights
        return sharp


class Hinge(Loss):
    """sum_{j != y} max(0, z_j - z_y + margin), a multiclass SVM (Weston & Watkins 1999).

    The initial loss is (C - 1) margin. Raises `UserError` unless `margin` is above 0.
    """

    def __init__(self, *, margin: float):
        super().__init__()
        self.margin = validation.number("margin", margin, above=0)

    def per_example(self, logits: Tensor, labels: Tensor) -> Tensor:
        labels = labels.unsqueeze(1)
        violations = (logits - logits.gather(1, labels) + self.margin).clamp(min=0)
        return violations.scatter(1, labels, 0.0).sum(1)

    def initial_loss(self, n_classes: int) -> float:
        return (n_classes - 1) * self.margin


class MeanSquaredError(Loss):
    """(1 / C) sum_j (z_j - onehot(y)_j)^2. The initial loss is 1 / C."""

    def per_example(self, logits: Tensor, labels: Tensor) -> Tensor:
        return (logits - F.one_hot(labels, logits.shape[1])).square().mean(1)

    def initial_loss(self, n_classes: int) -> float:
        return 1 / n_classes

    def baseline_loss(self, class_frequencies: Tensor) -> float:
        """Return (1 / C) sum_j p_j (1 - p_j), the loss of logits equal to the class frequencies p."""
        return float((class_frequencies.double() * (1 - class_frequencies.double())).mean())


class CustomLoss(Loss):
    """A user's own `function(logits, labels)`, which reduces the batch to one number by itself.

    `initial_loss` is the function's attribute of that name, a number or a function of C, if it has one. `per_example`
    calls the function once for each example. Raises `UserError` when `function` is not callable with two arguments or
    does not return one number.
    """

    tasks = TASKS

    def __init__(self, *, function: Callable[[Tensor, Tensor], Tensor]):
        super().__init__()
        if not callable(function):
            raise UserError(f"{function!r} cannot be called with (logits, labels).", field="function")
        try:
            inspect.signature(function).bind("logits", "labels")
        except TypeError as error:
            raise UserError(
                f"a loss is called as function(logits, labels), which this one does not allow: {error}. Give other "
                "arguments a default, or a value in the configuration.",
                field="function",
            ) from error
        except ValueError:  # a function without a signature that Python can read
            pass
        self.function = function

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        loss = self.function(logits, labels)
        if not isinstance(loss, Tensor) or loss.ndim != 0:
            received = f"shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
            raise UserError(f"a loss is one number, the mean over the batch; it returned {received}.", field="function")
        return loss

    def per_example(self, logits: Tensor, labels: Tensor) -> Tensor:
        return torch.stack([self(z, y) for z, y in zip(logits.split(1), labels.split(1), strict=True)])

    def initial_loss(self, n_classes: int) -> float | None:
        function = self.function.func if isinstance(self.function, functools.partial) else self.function
        value = getattr(function, "initial_loss", None)
        if callable(value):
            value = value(n_classes)
        return None if value is None else float(value)

    def baseline_loss_on(self, labels: Tensor, n_outputs: int) -> float | None:
        if labels.is_floating_point():
            return self.initial_loss(n_outputs)
        return super().baseline_loss_on(labels, n_outputs)
