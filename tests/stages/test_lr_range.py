"""The learning-rate range test: its rates, where it stops, and what it proposes."""

from __future__ import annotations

import dataclasses
import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import nn

from pipeline.data import permutation
from pipeline.errors import UserError
from pipeline.model.target_losses import BinaryCrossEntropy
from pipeline.stages.lr_range import LrRange
from pipeline.stages.train import Train
from tests.small_run import MakeRun

SGD = ("optimizer=sgd", "batchnorm=none", "schedule=constant", "regularization=none")


def lr_range(**options: Any) -> LrRange:
    return LrRange(**({"low": 1e-5, "high": 100.0, "steps": 60, "stop_factor": 4.0, "smoothing": 0.5} | options))


def test_rates_are_geometric() -> None:
    rates = lr_range(low=1e-4, high=1e2, steps=13).rates()
    assert rates == pytest.approx([10 ** (-4 + k / 2) for k in range(13)])


def test_stop_factor(small_run: MakeRun) -> None:
    outcome = lr_range()(*small_run(*SGD), [])
    metrics = outcome.metrics
    smoothed = metrics["smoothed"]
    assert len(metrics["losses"]) == len(smoothed) == len(metrics["rates"]) < 60
    assert smoothed[-1] > 4 * min(smoothed)
    assert all(now <= 4 * min(smoothed[: k + 1]) for k, now in enumerate(smoothed[:-1]))
    assert metrics["stopped_at_lr"] == metrics["rates"][-1]
    assert metrics["rates"] == lr_range().rates()[: len(smoothed)]


def test_smoothed_loss(small_run: MakeRun) -> None:
    """It is the exponential average, with its bias corrected."""
    metrics = lr_range(smoothing=0.8)(*small_run(*SGD), []).metrics
    for k, smooth in enumerate(metrics["smoothed"]):
        weights = [0.8 ** (k - j) for j in range(k + 1)]
        losses = metrics["losses"][: k + 1]
        average = sum(w * loss for w, loss in zip(weights, losses, strict=True)) / sum(weights)
        assert smooth == pytest.approx(average)


def test_proposed_rate(small_run: MakeRun) -> None:
    """A tenth of the rate at which the smoothed loss was lowest."""
    metrics = lr_range()(*small_run(*SGD, "optimizer.lr=0.1"), []).metrics
    best = metrics["smoothed"].index(min(metrics["smoothed"]))
    assert metrics["proposed_lr"] == pytest.approx(metrics["rates"][best] / 10)
    assert metrics["best_loss"] == min(metrics["smoothed"])
    assert metrics["configured_lr"] == 0.1


def test_losses_of_bare_loop(small_run: MakeRun) -> None:
    small = small_run(*SGD)
    metrics = lr_range()(*small, []).metrics
    network, train = small.components.make_network(), small.components.data.train
    optimizer = torch.optim.SGD(network.parameters(), lr=1.0)
    batches = [
        index for epoch in range(20) for index in permutation(small.components.seed, epoch, len(train)).split(64)
    ]
    for index, rate, expected in zip(batches, metrics["rates"], metrics["losses"], strict=False):
        optimizer.param_groups[0]["lr"] = rate
        loss = small.components.loss(network(small.components.preprocessing(train.pixels[index])), train.labels[index])
        assert float(loss.detach()) == pytest.approx(expected, rel=1e-4)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def test_proposed_rate_trains_best(small_run: MakeRun) -> None:
    """It trains better than a hundred times the rate, and than a hundredth of it."""
    proposed = lr_range()(*small_run(*SGD), []).metrics["proposed_lr"]

    def trained(rate: float) -> float:
        stage = Train(epochs=5, break_factor=1e9, patience=None, monitor="val_accuracy")
        outcome = stage(*small_run(*SGD, f"optimizer.lr={rate}", "checks.fail_on=never"), [])
        loss = outcome.metrics["history"][-1]["loss"]
        return loss if math.isfinite(loss) else math.inf

    losses = [trained(proposed * factor) for factor in (0.01, 1, 100)]
    assert losses[1] < losses[0] - 0.2
    assert losses[1] < losses[2] - 0.2


def test_components_stay_unchanged(small_run: MakeRun) -> None:
    small = small_run()
    before = small.components.make_network().state_dict()
    lr_range()(*small, [])
    after = small.components.make_network().state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_schedule_is_off(small_run: MakeRun) -> None:
    one, other = (lr_range()(*small_run(f"schedule={name}"), []).metrics for name in ("constant", "cosine"))
    assert one == other


@pytest.mark.parametrize("steps_per_call", [1, 10])
def test_each_step_has_its_rate(small_run: MakeRun, steps_per_call: int) -> None:
    used: list[float] = []

    def optimizer(groups: Any) -> torch.optim.Optimizer:
        built = torch.optim.SGD(groups, lr=1.0)
        built.register_step_pre_hook(lambda o, *_: used.append(o.param_groups[-1]["lr"]))
        return built

    small = small_run(f"trainer.steps_per_call={steps_per_call}", make_optimizer=optimizer)
    metrics = lr_range(high=1e-3)(*small, []).metrics
    assert used == metrics["rates"]
    assert len(used) == 60
    assert all(later / rate == pytest.approx(100 ** (1 / 59)) for rate, later in pairwise(used))


def test_no_rate_helps(small_run: MakeRun) -> None:
    def zeros() -> nn.Module:
        network = nn.Sequential(nn.Flatten(), nn.Linear(64, 20), nn.Linear(20, 10, bias=False))
        for parameter in network.parameters():
            nn.init.zeros_(parameter)
        return network

    outcome = lr_range()(*small_run(make_network=zeros), [])
    assert outcome.metrics["proposed_lr"] is None
    assert not outcome.passed
    assert [finding.check for finding in outcome.findings] == ["rate_too_low"]


def test_range_too_low(small_run: MakeRun) -> None:
    outcome = lr_range(low=1e-12, high=1e-10)(*small_run(), [])
    assert not outcome.passed
    assert outcome.metrics["proposed_lr"] is None
    assert outcome.findings[0].remedy[0] == "stages.lr_range.high=1e-09"


def test_nan_loss_stops(small_run: MakeRun) -> None:
    class Overflow(nn.Module):
        """NaN as soon as the weights have moved far."""

        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.last = nn.Linear(64, 10)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            logits = self.last(x.flatten(1))
            return logits * (float("nan") if float(self.last.weight.detach().abs().max()) > 1 else 1.0)

    metrics = lr_range()(*small_run(make_network=Overflow), []).metrics
    assert math.isnan(metrics["losses"][-1])
    assert all(map(math.isfinite, metrics["losses"][:-1]))
    assert math.isfinite(metrics["best_loss"])
    assert metrics["proposed_lr"] < metrics["stopped_at_lr"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("low", 0),
        ("high", 1e-5),
        ("high", 1e-6),
        ("steps", 9),
        ("stop_factor", 1),
        ("smoothing", 1),
        ("smoothing", -0.1),
    ],
)
def test_wrong_fields_are_named(field: str, value: object) -> None:
    with pytest.raises(UserError) as caught:
        lr_range(**{field: value})
    assert caught.value.field == field


def test_several_labels(small_run: MakeRun) -> None:
    small = small_run(*SGD)
    data = small.components.data
    train = dataclasses.replace(data.train, labels=torch.nn.functional.one_hot(data.train.labels).float())
    small = small.replace(data=dataclasses.replace(data, train=train, task="multilabel"), loss=BinaryCrossEntropy())
    assert lr_range(steps=10)(*small, []).metrics["best_loss"] > 0
