"""Losses with weights, of several labels, and of targets: against torch, and against the best constant answer."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.errors import UserError
from pipeline.model.losses import CrossEntropy, Loss
from pipeline.model.target_losses import BinaryCrossEntropy, RegressionLoss

N, C = 200, 3
DRAW = torch.Generator().manual_seed(0)
OUTPUTS = torch.randn(N, C, generator=DRAW, dtype=torch.float64)
CLASSES = torch.multinomial(torch.tensor([0.8, 0.15, 0.05]), N, replacement=True, generator=DRAW)
HOLDS = (torch.rand(N, C, generator=DRAW) < torch.tensor([0.5, 0.1, 0.9])).double()
TARGETS = torch.randn(N, C, generator=DRAW, dtype=torch.float64).exp()


def test_class_weights() -> None:
    """Balanced weights give each class the same share; torch divides by the weights of the batch instead."""
    loss = CrossEntropy(label_smoothing=0.0, weight="balanced").fit_weights(CLASSES, C)
    counts = torch.bincount(CLASSES, minlength=C).double()
    own = F.cross_entropy(OUTPUTS, CLASSES, weight=N / (C * counts))
    assert loss(OUTPUTS, CLASSES).item() == pytest.approx(own.item(), rel=1e-5)
    assert loss.class_weights @ counts.float() == pytest.approx(N, rel=1e-5)
    assert loss(torch.zeros_like(OUTPUTS), CLASSES).item() == pytest.approx(math.log(C), rel=1e-5)


def test_only_ratios_of_a_list_matter() -> None:
    a, b = (CrossEntropy(label_smoothing=0.1, weight=w).fit_weights(CLASSES, C) for w in ([1, 2, 4], [10, 20, 40]))
    assert a(OUTPUTS, CLASSES).item() == pytest.approx(b(OUTPUTS, CLASSES).item())
    assert a.without_smoothing()(OUTPUTS, CLASSES).item() < a(OUTPUTS, CLASSES).item() * 2
    assert a.without_smoothing().class_weights is not None


def test_label_weights() -> None:
    loss = BinaryCrossEntropy(weight="balanced").fit_weights(HOLDS, C)
    ratio = (1 - HOLDS).sum(0) / HOLDS.sum(0)
    own = F.binary_cross_entropy_with_logits(OUTPUTS, HOLDS, pos_weight=ratio)
    assert loss(OUTPUTS, HOLDS).item() == pytest.approx(own.item(), rel=1e-5)
    assert BinaryCrossEntropy()(torch.zeros(4, C), HOLDS[:4].float()).item() == pytest.approx(math.log(2))


@pytest.mark.parametrize(
    ("kind", "own"),
    [("mse", F.mse_loss), ("mae", F.l1_loss), ("huber", lambda z, y: F.huber_loss(z, y, delta=0.5))],
)
def test_regression(kind: str, own: object) -> None:
    loss = RegressionLoss(kind=kind, delta=0.5)
    far, further = (loss.per_example(torch.full((1, 2), size), torch.zeros(1, 2)).item() for size in (1e4, 3e4))
    assert further / far == pytest.approx(3**loss.error_power, rel=1e-3)
    assert loss(OUTPUTS, TARGETS).item() == pytest.approx(own(OUTPUTS, TARGETS).item())  # type: ignore[operator]
    assert loss.initial_loss_on(TARGETS, C) == pytest.approx(own(torch.zeros_like(TARGETS), TARGETS).item())  # type: ignore[operator]


@pytest.mark.parametrize(
    ("loss", "labels"),
    [
        (CrossEntropy(label_smoothing=0.1, weight="balanced"), CLASSES),
        (CrossEntropy(label_smoothing=0.0), CLASSES),
        (BinaryCrossEntropy(), HOLDS),
        (BinaryCrossEntropy(weight=[1, 5, 0.5]), HOLDS),
        (RegressionLoss(kind="mse", delta=1.0), TARGETS),
        (RegressionLoss(kind="mae", delta=1.0), TARGETS),
    ],
    ids=["smoothed balanced", "plain", "labels", "weighted labels", "mse", "mae"],
)
def test_baseline_is_the_best_constant(loss: Loss, labels: Tensor) -> None:
    """No constant output has a lower loss, found by descent."""
    loss = loss.fit_weights(labels, C)
    constant = torch.zeros(C, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([constant], max_iter=500, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = loss(constant.expand(N, C), labels)
        value.backward()
        return value

    optimizer.step(closure)
    best = closure().item()
    assert loss.baseline_loss_on(labels, C) == pytest.approx(best, rel=2e-3)


@pytest.mark.parametrize("weight", ["even", 3, [1, 0], [1, "a"]])
def test_wrong_weight(weight: object) -> None:
    with pytest.raises(UserError) as caught:
        CrossEntropy(label_smoothing=0.0, weight=weight)  # type: ignore[arg-type]
    assert caught.value.field is not None
    assert caught.value.field.startswith("weight")


@pytest.mark.parametrize("loss", [CrossEntropy(label_smoothing=0, weight=[1, 2]), BinaryCrossEntropy(weight=[1, 2])])
def test_wrong_number_of_weights(loss: Loss) -> None:
    labels = CLASSES if isinstance(loss, CrossEntropy) else HOLDS
    with pytest.raises(UserError, match="3 classes") as caught:
        loss.fit_weights(labels, C)
    assert caught.value.field == "weight"
