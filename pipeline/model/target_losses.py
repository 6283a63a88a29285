"""Losses of several labels for one example, and of numbers: outputs and labels are (N, C), the mean over the batch."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline import validation
from pipeline.data.dataset import MULTILABEL, REGRESSION
from pipeline.model.class_weights import ClassWeight, check_weight, class_weights
from pipeline.model.losses import Loss


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
        self.error_power = 2 if kind == "mse" else 1
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
