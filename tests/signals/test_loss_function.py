"""A loss on synthetic outputs: sound losses stay silent, whatever they are; those that mix things up are told."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.signals.loss_function import pairing_signals
from tests.checks.rule_cases import rule_of
from tests.signals.losses_under_test import (
    CLASSIFICATION,
    OVER_EXAMPLES,
    QUANTITIES,
    SHIFTED,
    LossFunction,
    Normalized,
    correlation,
    f1,
    focal_of_columns,
    mixture,
    scaled_by_columns,
)


def findings(signals: object) -> dict[str, str]:
    """Severity by check, of the checks that read these signals."""
    found = {}
    for check in ("loss_ignores_pairs", "loss_mixes_examples", "loss_disagrees"):
        finding = rule_of(check)(signals)  # type: ignore[arg-type]
        if finding is not None:
            found[check] = finding.severity
    return found


def normal(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(3))


def classes(count: int, *shape: int) -> Tensor:
    return torch.randint(0, count, shape, generator=torch.Generator().manual_seed(4))


@pytest.mark.parametrize("count", [2, 10])
@pytest.mark.parametrize("name", CLASSIFICATION)
def test_sound_classification(name: str, count: int) -> None:
    signals = pairing_signals(CLASSIFICATION[name], normal(64, count), classes(count, 64))
    assert signals["pairing_ratio"] > 0.01
    assert findings(signals) == {}


@pytest.mark.parametrize("name", QUANTITIES)
def test_sound_losses_of_quantities(name: str) -> None:
    loss, outputs, labels = QUANTITIES[name]
    signals = pairing_signals(loss, normal(*outputs), 20 * normal(*labels) + 50)
    assert signals
    assert findings(signals) == {}


@pytest.mark.parametrize("outputs", [(40, 1), (40,)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.long])
@pytest.mark.parametrize(
    "loss",
    [
        F.mse_loss,
        F.l1_loss,
        lambda z, y: F.huber_loss(z.float(), y.float()),
        lambda z, y: (F.softplus(z) - z * (y > 50)).mean(),
        lambda z, y: F.relu(1 - (2.0 * (y > 50) - 1) * z).sum(),
    ],
)
def test_columns_against_rows(loss: LossFunction, dtype: torch.dtype, outputs: tuple[int, ...]) -> None:
    """(N, 1) against (N,), either way round."""
    labels = (20 * normal(40) + 50).to(dtype)
    labels = labels if len(outputs) == 2 else labels[:, None]
    signals = pairing_signals(loss, normal(*outputs), labels)
    assert signals["pairing_ratio"] < 1e-5
    assert findings(signals) == {"loss_ignores_pairs": "failure"}


def test_columns_against_rows_of_two_classes() -> None:
    def broadcast(z: Tensor, y: Tensor) -> Tensor:
        return F.mse_loss((z[:, 1:] - z[:, :1]).sigmoid(), y.to(z))

    signals = pairing_signals(broadcast, normal(64, 2), classes(2, 64))
    assert findings(signals) == {"loss_ignores_pairs": "failure"}
    assert signals["synthetic_loss"] != pytest.approx(signals["single_loss"], rel=0.01)


@pytest.mark.parametrize("loss", [scaled_by_columns, focal_of_columns])
def test_weights_that_weight_nothing(loss: LossFunction) -> None:
    signals = pairing_signals(loss, normal(64, 10), classes(10, 64))
    assert signals["loss_broadcasts"] == ["mul of (N, 1) and (N,)"]
    assert findings(signals) == {"loss_ignores_pairs": "warning"}


@pytest.mark.parametrize("name", OVER_EXAMPLES)
def test_wrong_axis(name: str) -> None:
    signals = pairing_signals(OVER_EXAMPLES[name], normal(64, 10), classes(10, 64))
    assert signals["loss_mixing"] > 0.05
    assert findings(signals) == {"loss_mixes_examples": "failure"}


def test_a_loss_over_the_batch_that_is_meant() -> None:
    assert findings(pairing_signals(f1, normal(64, 10), classes(10, 64))) == {"loss_mixes_examples": "info"}


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (F.cross_entropy, {}),
        (lambda z, y: F.nll_loss(F.log_softmax(z, 0), y), {"loss_mixes_examples": "failure"}),
        (lambda z, y: F.nll_loss(F.log_softmax(z, 2), y), {"loss_mixes_examples": "failure"}),
        (lambda z, y: F.cross_entropy(z.softmax(-1), y), {"loss_mixes_examples": "failure"}),
    ],
)
def test_pixels(loss: LossFunction, expected: dict[str, str]) -> None:
    signals = pairing_signals(loss, normal(16, 4, 6, 5), classes(4, 16, 6, 5))
    assert signals["class_axis"] == 1
    assert findings(signals) == expected


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (lambda z, y: F.cross_entropy(z.flatten(0, 1), y.flatten()), {}),
        (lambda z, y: F.cross_entropy(z[:, :-1].flatten(0, 1), y[:, 1:].flatten()), {}),
        (
            lambda z, y: F.nll_loss(F.log_softmax(z, 1).flatten(0, 1), y.flatten()),
            {"loss_mixes_examples": "failure"},
        ),
        (
            lambda z, y: F.cross_entropy(z.transpose(1, 2).reshape(-1, 5), y.flatten()),
            {"loss_mixes_examples": "failure"},
        ),
    ],
    ids=["tokens", "next tokens", "softmax over places", "a view for a transpose"],
)
def test_tokens(loss: LossFunction, expected: dict[str, str]) -> None:
    signals = pairing_signals(loss, normal(16, 7, 5), classes(5, 16, 7))
    assert signals["class_axis"] == 2
    assert findings(signals) == expected


@pytest.mark.parametrize("name", SHIFTED)
def test_labels_of_another(name: str) -> None:
    rewarded, loss = SHIFTED[name]
    signals = pairing_signals(loss, normal(64, 10), classes(10, 64))
    assert signals["rewarded_labels"] == rewarded
    assert findings(signals) == {"loss_disagrees": "failure"}


def test_a_mixture_of_labels_is_no_shift() -> None:
    signals = pairing_signals(mixture, normal(64, 10), classes(10, 64))
    assert signals["rewarded_labels"] == "other"
    assert findings(signals) == {}


def test_rolled_quantities() -> None:
    signals = pairing_signals(lambda z, y: F.mse_loss(z, y.roll(-1, 0)), normal(40), 20 * normal(40) + 50)
    assert signals["rewarded_labels"] == "next example"
    assert findings(signals) == {"loss_disagrees": "failure"}


def test_what_cannot_be_asked_is_left_out() -> None:
    def unsupervised(z: Tensor, _y: Tensor) -> Tensor:
        return z.square().mean()

    def raises(z: Tensor, y: Tensor) -> Tensor:
        raise ValueError("not this batch")

    outputs, labels = normal(64, 10), classes(10, 64)
    assert "pairing_ratio" not in pairing_signals(unsupervised, outputs, labels)
    assert findings(pairing_signals(unsupervised, outputs, labels)) == {}
    assert pairing_signals(raises, outputs, labels) == {}
    assert pairing_signals(lambda z, y: z.sum() * torch.nan, outputs, labels) == {}
    assert pairing_signals(F.cross_entropy, outputs[:3], labels[:3]) == {}
    assert pairing_signals(F.cross_entropy, outputs, labels[:10]) == {}
    assert "pairing_ratio" not in pairing_signals(F.cross_entropy, outputs, torch.zeros(64, dtype=torch.long))
    assert "single_loss" not in pairing_signals(correlation, normal(40, 1), normal(40))  # NaN of one example


def test_nothing_is_changed() -> None:
    loss, outputs = Normalized(), normal(64, 10).requires_grad_()
    random.seed(7)
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()  # noqa: NPY002
    pairing_signals(loss, outputs, classes(10, 64))
    pairing_signals(lambda z, y: F.cross_entropy(F.dropout(z), y), outputs, classes(10, 64))
    assert loss.mean == 1
    assert outputs.grad is None
    assert torch.equal(states[0], torch.get_rng_state())
    assert states[1] == random.getstate()
    assert (states[2] == np.random.get_state()[1]).all()  # noqa: NPY002
