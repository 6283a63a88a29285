"""A training relative to a good one: what another seed changes stays silent, what is worse is said with where."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

import pytest

from pipeline.checks.baseline import CHECKS, DOCS, EXPLAINS, compare_signals

STEPS, EPOCHS = 20, 15


def training(
    seed: int,
    *,
    loss: Callable[[float], float] = lambda p: 0.2 + 2.1 * math.exp(-6 * p),
    lag: float = 0.0,
    accuracy: float = 0.9,
    lr: float = 0.1,
    norm: float = 1.0,
    step_seconds: float = 0.01,
    epochs: int = EPOCHS,
    **more: Any,
) -> dict[str, Any]:
    """Signals of a made-up training: noise of 5 % on each loss, and a score of 500 examples for each epoch."""
    generator = random.Random(seed)
    count = STEPS * epochs
    losses = [
        loss(max(0.0, (i / (STEPS * EPOCHS) - lag) / (1 - lag))) * (1 + 0.05 * generator.gauss(0, 1))
        for i in range(count)
    ]
    error = math.sqrt(accuracy * (1 - accuracy) / 500)
    scores = [accuracy * (1 - 0.8 * math.exp(-0.6 * i)) + error * generator.gauss(0, 0.5) for i in range(1, epochs + 1)]
    table = {
        "step": [STEPS * (i + 1) for i in range(epochs)],
        "loss": [sum(losses[i * STEPS : (i + 1) * STEPS]) / STEPS for i in range(epochs)],
        "val_accuracy": scores,
        "lr": [lr * (1 - i / EPOCHS) for i in range(epochs)],
        "seconds": [step_seconds * STEPS * (i + 1) for i in range(epochs)],
    }
    norms = [norm * math.exp(0.2 * generator.gauss(0, 1)) for _ in range(0, count, 5)]
    samples = {"step": list(range(0, count, 5)), "gradient_norm": norms}
    return {"losses": losses, "steps_per_entry": 1, "val_examples": 500, "epochs": table, "samples": samples} | more


def compared(new: dict[str, Any], good: dict[str, Any]) -> dict[str, Any]:
    findings, not_checked = compare_signals(new, good)
    assert {f.check for f in findings}.isdisjoint(entry.check for entry in not_checked)
    assert all(finding.stage == "baseline" and finding.advice and finding.why for finding in findings)
    return {finding.check: finding for finding in findings}


@pytest.mark.parametrize("seed", range(1, 21))
def test_another_seed(seed: int) -> None:
    assert compared(training(seed, lag=0.02 * (seed % 3)), training(0)) == {}


def test_a_loss_that_parts() -> None:
    stuck = training(1, loss=lambda p: 0.2 + 2.1 * math.exp(-6 * min(p, 0.3)))
    finding = compared(stuck, training(0))["baseline_loss"]
    assert finding.severity == "failure"
    assert 0.3 * 300 <= finding.step <= 0.5 * 300  # it stands still from step 90
    assert finding.measured["loss"] == pytest.approx(0.547, abs=0.03)
    assert finding.measured["good_loss"] == pytest.approx(0.22, abs=0.02)
    assert "baseline_loss" not in compared(training(0), stuck)  # better is no fault


def test_a_loss_that_comes_back() -> None:
    hump = training(1, loss=lambda p: 0.2 + 2.1 * math.exp(-6 * p) + (1.0 if 0.3 < p < 0.55 else 0.0))
    assert compared(hump, training(0))["baseline_loss"].severity == "warning"


def test_validation() -> None:
    finding = compared(training(1, accuracy=0.75), training(0))["baseline_validation"]
    assert finding.severity == "failure"
    assert finding.measured["best"] < 0.8 < finding.measured["good_best"]
    assert "baseline_validation" not in compared(training(1, accuracy=0.85), training(0))  # within noise of 500
    many = {"val_examples": 50_000}
    assert "baseline_validation" in compared(training(1, accuracy=0.75, **many), training(0, **many))


def test_a_score_that_is_lost_at_the_end() -> None:
    forgotten = training(1)
    forgotten["epochs"]["val_accuracy"][-1] = 0.5
    assert compared(forgotten, training(0))["baseline_validation"].severity == "warning"


def test_rates_gradients_speed_length() -> None:
    assert list(compared(training(1, lr=0.2), training(0))) == ["baseline_rate"]
    assert compared(training(1, norm=10.0), training(0))["baseline_gradients"].measured["ratio"] == pytest.approx(
        10, rel=0.2
    )
    assert "baseline_gradients" not in compared(training(1, norm=2.0), training(0))
    slow = compared(training(1, step_seconds=0.03), training(0))["baseline_speed"]
    assert (slow.severity, slow.measured["step_seconds"]) == ("info", pytest.approx(0.03))
    assert list(compared(training(1, epochs=8), training(0))) == ["baseline_length"]
    assert compared(training(1, epochs=14), training(0)) == {}


def test_a_busy_machine_says_nothing_about_speed() -> None:
    busy = training(1, step_seconds=0.03)
    busy["epochs"]["seconds"] = [sum(0.2 if j % 2 else 1.0 for j in range(i + 1)) for i in range(EPOCHS)]
    _, not_checked = compare_signals(busy, training(0))
    assert [entry.check for entry in not_checked] == ["baseline_speed"]


def test_epochs_alone() -> None:
    """Without steps, epochs are compared with epochs."""

    def epochs_of(signals: dict[str, Any]) -> dict[str, Any]:
        return {"epochs": {key: signals["epochs"][key] for key in ("loss", "val_accuracy")}}

    stuck = training(1, loss=lambda p: 0.2 + 2.1 * math.exp(-6 * min(p, 0.3)))
    assert compared(epochs_of(training(1)), epochs_of(training(0))) == {}
    found = compared(epochs_of(stuck), training(0))
    assert 4 <= found["baseline_loss"].step <= 8


def test_nothing_in_common() -> None:
    findings, not_checked = compare_signals({}, training(0))
    assert findings == []
    assert [entry.check for entry in not_checked] == list(CHECKS)


def test_every_check_is_described() -> None:
    assert CHECKS.keys() == DOCS.keys() == EXPLAINS.keys()
