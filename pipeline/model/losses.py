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
from pipeline.data.dataset import CLASSIFICATION, MULTILABEL, REGRESSION, TASKS
from pipeline.errors import UserError

BALANCED = "balanced"
ClassWeight = str | Sequence[float] | None


class Loss(nn.Module):
    """Interface of a loss: its value for each example, and reference values for an untrained network."""

    tasks: ClassVar[Sequence[str]] = (CLASSIFICATION,)
    """What it can train for."""

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


class BinaryCrossEntropy(Loss):
    """(1 / C) sum_j -p_j y_j log sigmoid(z_j) - (1 - y_j) log(1 - sigmoid(z_j)) in nats, for any number of labels.

    `weight` is p, the weight of a label that holds: 1 by default; `balanced` is the number of examples without the
    label over the number of those with it; a list has a number for each label. The initial loss is ln 2 with p = 1.
    Raises `UserError` naming the field.
    """

    tasks = (MULTILABEL,)

    def __init__(self, *, weight: ClassWeight = None):
        super().__init__()
        self.weight = check_weight(weight)
        self.label_weights: Tensor | None
        self.register_buffer("label_weights", None, persistent=False)

    def per_example(self, logits: Tensor, labels: Tensor) -> Tensor:
        weights = None if self.label_weights is None else self.label_weights.to(logits.device)
        return F.binary_cross_entropy_with_logits(logits, labels, reduction="none", pos_weight=weights).mean(1)

    def fit_weights(self, labels: Tensor, n_outputs: int) -> BinaryCrossEntropy:
        """Return the loss with the weight of each label; raise `UserError` where the list has another length."""
        if self.weight is None:
            return self
        positives = labels.double().sum(0)
        fitted = BinaryCrossEntropy(weight=self.weight)
        fitted.label_weights = class_weights(self.weight, (len(labels) - positives) / positives.clamp(min=1)).float()
        return fitted

    def initial_loss(self, n_classes: int) -> float | None:
        return math.log(2) if self.label_weights is None else None

    def initial_loss_on(self, labels: Tensor, n_outputs: int) -> float:
        return float(self.per_example(torch.zeros(labels.shape), labels.cpu()).mean())

    def baseline_loss_on(self, labels: Tensor, n_outputs: int) -> float:
        """Return the mean over labels of the (weighted) entropy: the loss of logits that are log odds."""
        positive, weights = labels.double().mean(0).cpu(), torch.ones(n_outputs).double()
        if self.label_weights is not None:
            weights = self.label_weights.double().cpu()
        odds = (weights * positive + 1 - positive).clamp(min=1e-300)
        q = weights * positive / odds
        return float((-torch.xlogy(weights * positive, q) - torch.xlogy(1 - positive, 1 - q)).mean())


class RegressionLoss(Loss):
    """(1 / T) sum_j f(z_j - y_j), f(d) = d^2 (mse), |d| (mae), or d^2 / 2 up to |d| = delta and linear beyond (huber).

    Targets have mean 0 and variance 1 on the training split, so that zeros have the loss 1 of mse. Raises `UserError`
    naming the field.
    """

    tasks = (REGRESSION,)

    def __init__(self, *, kind: str, delta: float):
        super().__init__()
        self.kind = validation.one_of("kind", kind, ("mse", "mae", "huber"))
        self.delta = validation.number("delta", delta, above=0)

    def per_example(self, logits: Tensor, labels: Tensor) -> Tensor:
        if self.kind == "mse":
            return (logits - labels).square().mean(1)
        if self.kind == "mae":
            return (logits - labels).abs().mean(1)
        return F.huber_loss(logits, labels, reduction="none", delta=self.delta).mean(1)

    def initial_loss(self, n_classes: int) -> float | None:
        return None  # it depends on the targets

    def initial_loss_on(self, labels: Tensor, n_outputs: int) -> float:
        return float(self.per_example(torch.zeros(labels.shape), labels.cpu()).mean())

    def baseline_loss_on(self, labels: Tensor, n_outputs: int) -> float:
        """Return the lower of the losses of the mean and of the median of each target."""
        labels = labels.cpu()
        constants = (labels.mean(0), labels.median(0).values)
        return min(float(self.per_example(constant.expand(labels.shape), labels).mean()) for constant in constants)


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
