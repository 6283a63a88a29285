"""Losses by their formulas, against torch, and in closed form for zero logits."""

from __future__ import annotations

import functools
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.errors import UserError
from pipeline.model.losses import CrossEntropy, CustomLoss, Hinge, Loss, MeanSquaredError

N, C = 12, 7
LOGITS = torch.randn(N, C, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
LABELS = torch.randint(C, (N,), generator=torch.Generator().manual_seed(1))


def mean_absolute(logits: Tensor, labels: Tensor) -> Tensor:
    return (logits - F.one_hot(labels, logits.shape[1])).abs().mean()


LOSSES: dict[str, Loss] = {
    "cross_entropy": CrossEntropy(label_smoothing=0.0),
    "smoothed": CrossEntropy(label_smoothing=0.2),
    "hinge": Hinge(margin=1.0),
    "hinge_wide": Hinge(margin=2.5),
    "mse": MeanSquaredError(),
    "custom": CustomLoss(function=mean_absolute),
}


@pytest.mark.parametrize("name", LOSSES)
def test_per_example(name: str) -> None:
    """The loss is their mean, and each depends on its own logits alone."""
    loss, logits = LOSSES[name], LOGITS.clone().requires_grad_()
    terms = loss.per_example(logits, LABELS)
    assert terms.shape == (N,)
    torch.testing.assert_close(loss(logits, LABELS), terms.mean())
    (gradient,) = torch.autograd.grad(terms[3], logits)
    assert gradient[3].any()
    assert not gradient[:3].any()
    assert not gradient[4:].any()


@pytest.mark.parametrize("name", [name for name in LOSSES if name != "custom"])
def test_initial_loss(name: str) -> None:
    for n_classes in (2, 10, 100):
        loss = LOSSES[name](torch.zeros(5, n_classes, dtype=torch.float64), torch.tensor([0, 1, 1, 0, 1]))
        assert LOSSES[name].initial_loss(n_classes) == pytest.approx(loss.item(), rel=1e-12)


def test_initial_loss_in_closed_form() -> None:
    first = {name: loss.initial_loss(10) for name, loss in LOSSES.items()}
    assert first["cross_entropy"] == first["smoothed"] == pytest.approx(math.log(10))
    assert (first["hinge"], first["hinge_wide"], first["mse"], first["custom"]) == (9, 22.5, 0.1, None)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_cross_entropy(smoothing: float) -> None:
    expected = []
    for z, y in zip(LOGITS.tolist(), LABELS.tolist(), strict=True):
        q = [(1 - smoothing) * (j == y) + smoothing / C for j in range(C)]
        total = sum(math.exp(v) for v in z)
        expected.append(-sum(q[j] * math.log(math.exp(z[j]) / total) for j in range(C)))
    loss = CrossEntropy(label_smoothing=smoothing)
    assert loss.per_example(LOGITS, LABELS).tolist() == pytest.approx(expected)


@pytest.mark.parametrize("margin", [1.0, 2.5])
def test_hinge(margin: float) -> None:
    expected = [
        sum(max(0.0, z[j] - z[y] + margin) for j in range(C) if j != y)
        for z, y in zip(LOGITS.tolist(), LABELS.tolist(), strict=True)
    ]
    loss = Hinge(margin=margin)
    assert loss.per_example(LOGITS, LABELS).tolist() == pytest.approx(expected)
    torch.testing.assert_close(loss(LOGITS, LABELS), C * F.multi_margin_loss(LOGITS, LABELS, margin=margin))


def test_hinge_gradient() -> None:
    logits, reference = LOGITS.clone().requires_grad_(), LOGITS.clone().requires_grad_()
    Hinge(margin=1.0)(logits, LABELS).backward()
    (C * F.multi_margin_loss(reference, LABELS)).backward()
    torch.testing.assert_close(logits.grad, reference.grad)


def test_mse() -> None:
    onehot = torch.eye(C, dtype=torch.float64)[LABELS]
    torch.testing.assert_close(MeanSquaredError()(LOGITS, LABELS), F.mse_loss(LOGITS, onehot))


def test_custom_loss_with_a_sum() -> None:
    loss = CustomLoss(function=nn.CrossEntropyLoss(reduction="sum"))
    terms = F.cross_entropy(LOGITS, LABELS, reduction="none")
    torch.testing.assert_close(loss(LOGITS, LABELS), terms.sum())
    torch.testing.assert_close(loss.per_example(LOGITS, LABELS), terms)


class Doubled(nn.Module):
    def __init__(self, initial_loss: object):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(2.0))
        if initial_loss is not None:
            self.initial_loss = initial_loss

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        return self.scale * F.cross_entropy(logits, labels)


def test_initial_loss_of_custom_loss() -> None:
    assert CustomLoss(function=Doubled(None)).initial_loss(10) is None
    assert CustomLoss(function=Doubled(4)).initial_loss(10) == 4.0
    assert CustomLoss(function=Doubled(lambda n_classes: 2 * math.log(n_classes))).initial_loss(3) == 2 * math.log(3)


def test_custom_loss_with_parameters() -> None:
    assert [name for name, _ in CustomLoss(function=Doubled(None)).named_parameters()] == ["function.scale"]


def test_custom_loss_of_wrong_shape() -> None:
    functions: list[Any] = [lambda z, y: F.cross_entropy(z, y, reduction="none"), lambda z, y: 3.0]
    for function in functions:
        with pytest.raises(UserError) as error:
            CustomLoss(function=function)(LOGITS, LABELS)
        assert error.value.field == "function"


def test_invalid_fields() -> None:
    for value in (-0.1, 1, math.nan):
        with pytest.raises(UserError) as error:
            CrossEntropy(label_smoothing=value)
        assert error.value.field == "label_smoothing"
    with pytest.raises(UserError) as error:
        Hinge(margin=0)
    assert error.value.field == "margin"
    with pytest.raises(UserError) as error:
        CustomLoss(function="mse")  # type: ignore[arg-type]
    assert error.value.field == "function"


def test_without_smoothing() -> None:
    logits, labels = torch.tensor([[50.0, 0.0], [0.0, 50.0]]), torch.tensor([0, 1])
    smooth = CrossEntropy(label_smoothing=0.1)
    assert smooth(logits, labels) > 1
    assert smooth.without_smoothing()(logits, labels) < 1e-6
    hinge = Hinge(margin=1.0)
    assert hinge.without_smoothing() is hinge


@pytest.mark.parametrize("name", ["cross_entropy", "smoothed", "mse"])
def test_baseline_loss(name: str) -> None:
    """It is the minimum over logits that are the same for all examples."""
    labels = torch.tensor([0] * 7 + [1] * 2 + [2])
    logits = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([logits], max_iter=200, tolerance_grad=1e-12, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = LOSSES[name](logits.expand(10, 3), labels)
        loss.backward()
        return loss

    optimizer.step(closure)
    frequencies = torch.tensor([0.7, 0.2, 0.1])
    assert LOSSES[name].baseline_loss(frequencies) == pytest.approx(closure().item(), rel=1e-6)
    assert LOSSES["hinge"].baseline_loss(frequencies) == LOSSES["hinge"].initial_loss(3)


def test_a_custom_loss_takes_outputs_and_labels() -> None:
    def weighted(logits: Tensor, labels: Tensor, weight: Tensor) -> Tensor:
        return F.cross_entropy(logits, labels, weight=weight)

    with pytest.raises(UserError) as error:
        CustomLoss(function=weighted)
    assert error.value.field == "function"
    loss = CustomLoss(function=functools.partial(weighted, weight=torch.ones(3)))
    assert loss(torch.zeros(2, 3), torch.tensor([0, 2])) == pytest.approx(math.log(3))
    assert CustomLoss(function=nn.CrossEntropyLoss())(torch.zeros(2, 3), torch.tensor([0, 2])) > 1
