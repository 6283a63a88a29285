"""The overfit stage: when it passes, when it stops, and which other rates it tries."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from pipeline.checks import Finding
from pipeline.data import Images
from pipeline.data.dataset import REGRESSION
from pipeline.data.splits import stratified_head
from pipeline.errors import UserError
from pipeline.model import CrossEntropy
from pipeline.stages.overfit import Overfit, OverfitMonitor
from pipeline.workflow.outcome import Outcome
from tests.small_run import MakeRun

EASY = ("optimizer=adam", "optimizer.lr=0.01")


def overfit(examples: int = 20, steps: int = 300, target_loss: float = 0.05) -> Overfit:
    return Overfit(examples=examples, steps=steps, target_loss=target_loss)


def test_healthy_network_passes(small_run: MakeRun) -> None:
    outcome = overfit()(*small_run(*EASY), [])
    assert outcome.passed
    assert outcome.findings == ()
    metrics = outcome.metrics
    assert metrics["overfit_reached"]
    assert metrics["overfit_wrong"] == 0
    assert metrics["overfit_loss"] < 0.05
    assert metrics["losses"][0] == metrics["overfit_first_loss"] == pytest.approx(math.log(10), rel=0.1)


def test_stops_at_first_good_step(small_run: MakeRun) -> None:
    outcome = overfit()(*small_run(*EASY), [])
    losses = outcome.metrics["losses"]
    assert losses[-1] < 0.05 <= min(losses[:-1])
    assert len(losses) == outcome.metrics["overfit_steps"] < 300


def test_stops_after_lightning_step(small_run: MakeRun) -> None:
    """With several optimizer steps per call, training ends with the call in which the target was reached."""
    done: list[float] = []
    small = small_run(*EASY, "trainer.steps_per_call=7", progress=lambda count, *_, **__: done.append(count))
    outcome = overfit()(*small, [])
    assert len(done) == -(-outcome.metrics["overfit_steps"] // 7)
    assert done[:-1] == [7 * k for k in range(1, len(done))]


def test_steps_per_call_changes_nothing(small_run: MakeRun) -> None:
    one, ten = (overfit()(*small_run(*EASY, f"trainer.steps_per_call={k}"), []) for k in (1, 10))
    assert one.metrics == ten.metrics


@pytest.mark.parametrize(
    "option",
    ["regularization=l2_dropout", "regularization.l2=10", "augmentation=crop_flip", "loss.label_smoothing=0.2"],
)
def test_regularization_is_off(small_run: MakeRun, option: str) -> None:
    plain = overfit()(*small_run(*EASY, "regularization=none"), [])
    assert overfit()(*small_run(*EASY, option), []).metrics["losses"] == plain.metrics["losses"]


def test_schedule_is_off(small_run: MakeRun) -> None:
    constant, cosine = (overfit()(*small_run(*EASY, f"schedule={name}"), []) for name in ("constant", "cosine"))
    assert constant.metrics["losses"] == cosine.metrics["losses"]


def test_losses_of_bare_loop(small_run: MakeRun) -> None:
    small = small_run("optimizer=sgd", "optimizer.lr=0.1", "regularization=none")
    losses = overfit(examples=10, steps=5)(*small, []).metrics["losses"]
    few, network = stratified_head(small.components.data.train, 10, 10), small.components.make_network()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    for expected in losses:
        loss = torch.nn.functional.cross_entropy(network(small.components.preprocessing(few.pixels)), few.labels)
        assert float(loss.detach()) == pytest.approx(expected, rel=1e-5)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def test_too_few_steps(small_run: MakeRun) -> None:
    outcome = overfit(steps=2, target_loss=1e-12)(*small_run(*EASY), [])
    assert not outcome.passed
    assert [finding.check for finding in outcome.findings] == ["cannot_overfit"]
    assert outcome.findings[0].step == 2
    assert len(outcome.metrics["losses"]) == 2


def test_rate_too_low(small_run: MakeRun) -> None:
    outcome = overfit(steps=300)(*small_run("optimizer=adam", "optimizer.lr=1e-7"), [])
    assert not outcome.passed
    assert outcome.findings[0].check == "rate_too_low"
    assert outcome.findings[0].remedy == ("optimizer.lr=0.01",)


def test_what_is_not_learned_has_a_finding_whatever_was_found_before(small_run: MakeRun) -> None:
    """A warning of an earlier stage explains a rate that is too low; the stage says so all the same."""
    small = small_run("optimizer=sgd", "optimizer.lr=0.02", "batchnorm=none")
    texts = dict.fromkeys(("expected", "message", "why", "source"), "linear layers")
    linear = Finding("missing_nonlinearity", "warning", measured={}, remedy=(), stage="sanity", **texts)
    assert "rate_too_low" in small.components.checks.explains["missing_nonlinearity"]
    sanity = Outcome(name="sanity", passed=True, seconds=0.0, headline="", metrics={}, findings=(linear,))
    alone, after = (overfit(steps=60)(*small, earlier) for earlier in ([], [sanity]))
    assert not after.metrics["overfit_reached"]
    assert [(f.check, f.severity) for f in alone.findings] == [("rate_too_low", "warning")]
    assert after.findings == alone.findings


def test_rate_too_high(small_run: MakeRun) -> None:
    outcome = overfit(steps=20)(*small_run("optimizer=sgd", "optimizer.lr=1000", "batchnorm=none"), [])
    assert not outcome.passed
    assert outcome.findings[0].check in ("rate_too_high", "nonfinite")
    assert outcome.findings[0].remedy


def test_every_example_must_be_right(small_run: MakeRun) -> None:
    """Of two equal images with different labels one stays wrong, whatever the target."""
    small = small_run(*EASY)
    train = stratified_head(small.components.data.train, 10, 20)
    other = next(i for i in range(20) if train.labels[i] != train.labels[0])
    pixels = train.pixels.clone()
    pixels[other] = pixels[0]
    small = small.replace(data=replace(small.components.data, train=Images(pixels, train.labels)))
    outcome = overfit(steps=100, target_loss=0.5)(*small, [])
    assert not outcome.passed
    assert outcome.metrics["overfit_best_loss"] < 0.5, "the loss should be low"
    assert outcome.metrics["overfit_wrong"] == 1


def test_nan_loss_stops(small_run: MakeRun) -> None:
    def nan_network() -> nn.Module:
        linear = nn.Linear(64, 10)
        nn.init.constant_(linear.weight, float("nan"))
        return nn.Sequential(nn.Flatten(), linear)

    outcome = overfit()(*small_run(make_network=nan_network, progress=lambda *_, **__: None), [])
    assert not outcome.passed
    assert [finding.check for finding in outcome.findings] == ["nonfinite"]
    assert len(outcome.metrics["losses"]) <= 10
    assert outcome.findings[0].step == 0


def test_examples_of_all_classes(small_run: MakeRun) -> None:
    seen: list[torch.Tensor] = []

    class Spy(CrossEntropy):
        def without_smoothing(self) -> CrossEntropy:
            return self

        def forward(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
            seen.append(labels)
            return super().forward(logits, labels)

    overfit(examples=20, steps=1)(*small_run(*EASY, loss=Spy(label_smoothing=0.0)), [])
    counts = torch.bincount(seen[0], minlength=10)
    assert len(seen[0]) == 20
    assert int(counts.min()) >= 1
    assert int(counts.max()) <= 3


def test_components_stay_unchanged(small_run: MakeRun) -> None:
    small = small_run(*EASY)
    before = small.components.make_network().state_dict()
    overfit(steps=5)(*small, [])
    after = small.components.make_network().state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize(("field", "value"), [("examples", 1), ("steps", 0), ("target_loss", 0), ("steps", 2.5)])
def test_wrong_fields_are_named(field: str, value: Any) -> None:
    with pytest.raises(UserError) as caught:
        overfit(**{field: value})
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("losses", "diverged"),
    [
        ([2.0, *[1.5] * 20], False),  # falls too slowly
        ([2.0, 2.5, 2.9, *[1.0] * 10], False),
        ([2.0, 2.5, 3.1, *[1.0] * 10], True),  # a spike, then below its start
        ([2.0, 2.1, 2.2], True),
        ([2.0, 0.4, *[0.9] * 10], True),  # back to twice its minimum
        ([2.0, 1.0, math.nan], True),
    ],
)
def test_diverged(losses: list[float], diverged: bool) -> None:
    monitor = OverfitMonitor(10, 100, 0.01, lambda *_, **__: None)
    monitor.losses = losses
    assert monitor.diverged() == diverged


@pytest.mark.parametrize(("score", "fitted"), [(9.95, True), (9.85, False)])
def test_targets_are_fitted_by_their_squared_error(score: float, fitted: bool) -> None:
    """Whatever the loss: a mean error of 0.06 leaves less than a hundredth of the variance."""
    monitor = OverfitMonitor(10, 100, 0.01, lambda *_, **__: None, task=REGRESSION)
    assert monitor._is_fitted(0.06, score) == fitted


def test_targets_that_diverge() -> None:
    monitor = OverfitMonitor(8, 10, 0.01, lambda *_, **__: None, task=REGRESSION)
    monitor.losses, monitor.correct = [1.0, math.nan], [0.0, math.nan]
    assert "overfit_wrong" not in monitor.signals()
    assert monitor.signals()["nonfinite_step"] == 1
