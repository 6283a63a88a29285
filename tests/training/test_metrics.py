"""Metrics of each task against counts by hand."""

from __future__ import annotations

import math

import pytest
import torch

from pipeline.data.dataset import CLASSIFICATION, MULTILABEL, REGRESSION
from pipeline.errors import UserError
from pipeline.training.metrics import choose_monitor, compute_metrics, metrics_by_class
from pipeline.training.score_names import METRICS, is_falling

DRAW = torch.Generator().manual_seed(0)
N, C = 300, 4


def _f1(predicted: torch.Tensor, true: torch.Tensor) -> float:
    hits = int((predicted & true).sum())
    return 2 * hits / max(1, int(predicted.sum()) + int(true.sum()))


def _auc(scores: torch.Tensor, true: torch.Tensor) -> float:
    """Return the share of pairs in which the positive example has the higher score."""
    return float((scores[true][:, None] > scores[~true][None]).double().mean())


def test_classes() -> None:
    labels = torch.multinomial(torch.tensor([0.7, 0.2, 0.1, 0.0]), N, replacement=True, generator=DRAW)
    outputs = torch.randn(N, C, generator=DRAW) + 2 * torch.nn.functional.one_hot(labels, C)
    metrics = compute_metrics(CLASSIFICATION, outputs, labels)
    predicted = outputs.argmax(1)
    present = [0, 1, 2]  # no example of the last class: it has no score
    recalls = [float((predicted[labels == c] == c).double().mean()) for c in present]
    assert tuple(metrics) == METRICS[CLASSIFICATION]
    assert metrics["accuracy"] == pytest.approx(float((predicted == labels).double().mean()))
    assert metrics["balanced_accuracy"] == metrics["recall"] == pytest.approx(sum(recalls) / 3)
    assert metrics["f1"] == pytest.approx(sum(_f1(predicted == c, labels == c) for c in present) / 3)
    probabilities = outputs.softmax(1)
    assert metrics["auc"] == pytest.approx(sum(_auc(probabilities[:, c], labels == c) for c in present) / 3, rel=1e-5)
    by_class = metrics_by_class(CLASSIFICATION, outputs, labels)
    assert all(math.isnan(values[3]) for values in by_class.values())


def test_labels() -> None:
    labels = (torch.rand(N, C, generator=DRAW) < 0.3).float()
    outputs = torch.randn(N, C, generator=DRAW) + labels
    metrics = compute_metrics(MULTILABEL, outputs, labels)
    predicted = outputs > 0
    assert metrics["accuracy"] == pytest.approx(float((predicted == labels.bool()).double().mean()))
    assert metrics["exact_match"] == pytest.approx(float((predicted == labels.bool()).all(1).double().mean()))
    assert metrics["f1"] == pytest.approx(sum(_f1(predicted[:, c], labels[:, c].bool()) for c in range(C)) / C)
    assert metrics["auc"] == pytest.approx(
        sum(_auc(outputs[:, c], labels[:, c].bool()) for c in range(C)) / C, rel=1e-5
    )


def test_targets() -> None:
    labels = torch.randn(N, 2, generator=DRAW)
    outputs = labels + 0.5 * torch.randn(N, 2, generator=DRAW)
    moments = torch.tensor([[10.0, 20.0], [3.0, 100.0]])
    metrics = compute_metrics(REGRESSION, outputs, labels, moments=moments)
    errors = (outputs - labels).double()
    assert metrics["mae"] == pytest.approx(float((errors.abs().mean(0) * moments[1]).mean()))
    assert metrics["rmse"] == pytest.approx(float((errors.square().mean(0).sqrt() * moments[1]).mean()))
    spread = (labels.double() - labels.double().mean(0)).square().sum(0)
    assert metrics["r2"] == pytest.approx(float((1 - errors.square().sum(0) / spread).mean()))
    constant = compute_metrics(REGRESSION, outputs, torch.zeros(N, 2), moments=moments)
    assert math.isnan(constant["r2"])
    assert constant["mae"] > 0


def test_monitor() -> None:
    assert choose_monitor(CLASSIFICATION, "auto") == "val_accuracy"
    assert choose_monitor(REGRESSION, "auto") == "val_loss"
    assert choose_monitor(MULTILABEL, "val_exact_match") == "val_exact_match"
    with pytest.raises(UserError) as caught:
        choose_monitor(REGRESSION, "val_f1")
    assert caught.value.field == "monitor"
    assert [name for name in ("val_loss", "val_accuracy", "val_mae", "val_rmse", "val_r2") if is_falling(name)] == [
        "val_loss", "val_mae", "val_rmse"
    ]  # fmt: skip


def test_a_single_label() -> None:
    outputs, labels = torch.tensor([[2.0], [1.0], [-1.0], [-2.0]]), torch.tensor([[1.0], [0.0], [1.0], [0.0]])
    metrics = compute_metrics(MULTILABEL, outputs, labels)
    assert metrics["recall"] == metrics["precision"] == metrics["f1"] == 0.5
    assert metrics["auc"] == 0.75
    assert metrics_by_class(MULTILABEL, outputs, labels)["f1"].shape == (1,)
