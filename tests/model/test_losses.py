from __future__ import annotations

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
def test_the_loss_is_the_mean_over_examples_and_each_depends_on_its_own_logits(name: str) -> None:
    loss, logits = LOSSES[name], LOGITS.clone().requires_grad_()
    each = loss.per_example(logits, LABELS)
    assert each.shape == (N,)
    torch.testing.assert_close(loss(logits, LABELS), each.mean())
    (gradient,) = torch.autograd.grad(each[3], logits)
    assert gradient[3].any()
    assert not gradient[:3].any()
    assert not gradient[4:].any()


@pytest.mark.parametrize("name", [name for name in LOSSES if name != "custom"])
@pytest.mark.parametrize("classes", [2, 10, 100])
def test_expected_first_is_the_loss_of_zero_logits(name: str, classes: int) -> None:
    loss = LOSSES[name](torch.zeros(5, classes, dtype=torch.float64), torch.tensor([0, 1, 1, 0, 1]))
    assert LOSSES[name].initial_loss(classes) == pytest.approx(loss.item(), rel=1e-12)


def test_expected_first_in_closed_form() -> None:
    first = {name: loss.initial_loss(10) for name, loss in LOSSES.items()}
    assert first["cross_entropy"] == first["smoothed"] == pytest.approx(math.log(10))
    assert (first["hinge"], first["hinge_wide"], first["mse"], first["custom"]) == (9, 22.5, 0.1, None)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_cross_entropy_by_its_formula(smoothing: float) -> None:
    expected = []
    for z, y in zip(LOGITS.tolist(), LABELS.tolist(), strict=True):
        q = [(1 - smoothing) * (j == y) + smoothing / C for j in range(C)]
        total = sum(math.exp(v) for v in z)
        expected.append(-sum(q[j] * math.log(math.exp(z[j]) / total) for j in range(C)))
    loss = CrossEntropy(label_smoothing=smoothing)
    assert loss.per_example(LOGITS, LABELS).tolist() == pytest.approx(expected)


@pytest.mark.parametrize("margin", [1.0, 2.5])
def test_hinge_by_its_formula_and_by_torchs(margin: float) -> None:
    expected = [
        sum(max(0.0, z[j] - z[y] + margin) for j in range(C) if j != y)
        for z, y in zip(LOGITS.tolist(), LABELS.tolist(), strict=True)
    ]
    loss = Hinge(margin=margin)
    assert loss.per_example(LOGITS, LABELS).tolist() == pytest.approx(expected)
    torch.testing.assert_close(loss(LOGITS, LABELS), C * F.multi_margin_loss(LOGITS, LABELS, margin=margin))


def test_hinge_gradient_is_torchs() -> None:
    mine, torchs = LOGITS.clone().requires_grad_(), LOGITS.clone().requires_grad_()
    Hinge(margin=1.0)(mine, LABELS).backward()
    (C * F.multi_margin_loss(torchs, LABELS)).backward()
    torch.testing.assert_close(mine.grad, torchs.grad)


def test_mse_by_torchs() -> None:
    onehot = torch.eye(C, dtype=torch.float64)[LABELS]
    torch.testing.assert_close(MeanSquaredError()(LOGITS, LABELS), F.mse_loss(LOGITS, onehot))


def test_custom_loss_reduces_as_it_likes() -> None:
    loss = CustomLoss(function=nn.CrossEntropyLoss(reduction="sum"))
    each = F.cross_entropy(LOGITS, LABELS, reduction="none")
    torch.testing.assert_close(loss(LOGITS, LABELS), each.sum())
    torch.testing.assert_close(loss.per_example(LOGITS, LABELS), each)


class Doubled(nn.Module):
    def __init__(self, first: object):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(2.0))
        if first is not None:
            self.initial_loss = first

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        return self.scale * F.cross_entropy(logits, labels)


def test_custom_loss_may_say_what_it_is_first() -> None:
    assert CustomLoss(function=Doubled(None)).initial_loss(10) is None
    assert CustomLoss(function=Doubled(4)).initial_loss(10) == 4.0
    assert CustomLoss(function=Doubled(lambda classes: 2 * math.log(classes))).initial_loss(3) == 2 * math.log(3)


def test_parameters_of_a_custom_loss_are_its_own() -> None:
    assert [name for name, _ in CustomLoss(function=Doubled(None)).named_parameters()] == ["function.scale"]


def test_a_custom_loss_returns_one_number() -> None:
    functions: list[Any] = [lambda z, y: F.cross_entropy(z, y, reduction="none"), lambda z, y: 3.0]
    for function in functions:
        with pytest.raises(UserError, match="one number") as error:
            CustomLoss(function=function)(LOGITS, LABELS)
        assert error.value.field == "function"


def test_fields_are_checked() -> None:
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


def test_label_smoothing_is_regularization_that_can_be_left_out() -> None:
    logits, labels = torch.tensor([[50.0, 0.0], [0.0, 50.0]]), torch.tensor([0, 1])
    smooth = CrossEntropy(label_smoothing=0.1)
    assert smooth(logits, labels) > 1
    assert smooth.without_smoothing()(logits, labels) < 1e-6
    hinge = Hinge(margin=1.0)
    assert hinge.without_smoothing() is hinge
