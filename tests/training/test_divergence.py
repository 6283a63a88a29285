"""When a training is ended early, step by step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from pipeline.training.divergence import DivergenceGuard, TrainingDiverged
from pipeline.training.lightning_module import Classifier


def make_guard(factor: float | None = 3.0) -> DivergenceGuard:
    return DivergenceGuard(
        total_steps=100,
        break_factor=factor,
        on_epoch_checks=lambda classifier: [],
        on_finding=lambda finding: None,
        progress=lambda done, total, **_: None,
    )


def make_classifier() -> Any:
    classifier: Any = Classifier.__new__(Classifier)
    torch.nn.Module.__init__(classifier)
    classifier.checkpoint_extra, classifier.history, classifier.epoch = {}, [], 0
    classifier.record_steps = lambda losses, sizes: None
    return classifier


def diverged_at(
    losses: Sequence[float],
    *,
    factor: float | None = 3.0,
    batch: int = 16,
    guard: DivergenceGuard | None = None,
    classifier: Any = None,
) -> tuple[int | None, Any]:
    """Return the step at which the guard ends a training with these losses, and its signals."""
    guard, classifier = guard or make_guard(factor), classifier or make_classifier()
    for step, loss in enumerate(losses, start=1):
        classifier.last_losses = torch.tensor([loss])
        try:
            trainer: Any = SimpleNamespace(global_step=step)
            guard.on_train_batch_end(trainer, classifier, None, [(0, torch.arange(batch))], 0)
        except TrainingDiverged:
            assert guard.has_diverged
            return step, guard.signals
    assert not guard.has_diverged
    return None, guard.signals


@pytest.mark.parametrize(
    ("losses", "step"),
    [
        ([2.0, *[6.1] * 9], 6),  # above three times the first, in five steps
        ([2.0, *[6.1] * 4, 1.0, *[6.1] * 4], None),  # a peak that comes back
        ([2.0, *[6.0] * 9], None),  # not above
        ([2.0, 60.1], 2),  # ten times as far above needs no second step
        ([2.0, 60.0], None),
        ([-2.0, *[2.1] * 9], 6),  # negative losses: above first + 2 |first|
        ([-2.0, *[1.9] * 9], None),
        ([-2.0, 56.1], 2),  # above first + 29 |first|
        ([0.0, *[9.0] * 9], None),  # three times nothing is no bound
        ([2.0, 1.0, math.nan], 3),
        ([2.0, math.inf], 2),
    ],
)
def test_step(losses: list[float], step: int | None) -> None:
    assert diverged_at(losses)[0] == step


def test_without_a_factor_nothing_ends_it() -> None:
    assert diverged_at([2.0, 1e9, math.nan], factor=None) == (None, {})
    assert diverged_at([0.0, 1e9], factor=None) == (None, {})


def test_signals_say_where() -> None:
    _, signals = diverged_at([2.0, 64.0])
    assert signals == {
        "exploded": True, "break_factor": 3.0, "exploded_cost": 64.0, "exploded_step": 2, "original_cost": 2.0,
    }  # fmt: skip


def test_tiny_batches_are_averaged() -> None:
    """With batches of one, sixteen steps count as one, and a single wrong answer is no explosion."""
    assert diverged_at([1.0] * 16 + [40.0] + [1.0] * 79, batch=1)[0] is None
    assert diverged_at([1.0] * 16 + [4.0] * 99, batch=1)[0] == 16 + 5 * 16
    assert diverged_at([1.0] * 16 + [31.0] * 16, batch=1)[0] == 32
    assert diverged_at([0.1] + [1.0] * 200, batch=1)[0] is None  # the original cost is no single example's either


@pytest.mark.parametrize("batch", [16, 5])
@pytest.mark.parametrize("stopped", [1, 2, 4, 7])
def test_a_resumed_training_ends_at_the_same_step(batch: int, stopped: int) -> None:
    losses = [2.0, 1.0, 2.0, 2.0, *[9.0] * 30]
    whole, signals = diverged_at(losses, batch=batch)
    assert whole is not None
    first, second = make_classifier(), make_classifier()
    diverged_at(losses[: min(stopped, whole - 1)], batch=batch, classifier=first)
    guard = make_guard()
    guard.on_load_checkpoint(None, second, {"pipeline": first.checkpoint_extra})  # type: ignore[arg-type]
    rest, resumed = diverged_at(losses[min(stopped, whole - 1) :], batch=batch, guard=guard, classifier=second)
    assert min(stopped, whole - 1) + (rest or 0) == whole
    assert resumed | {"exploded_step": whole} == signals


def test_checkpoints_of_earlier_versions_are_read() -> None:
    guard = make_guard()
    guard.on_load_checkpoint(None, make_classifier(), {"pipeline": {"original_cost": 2.0}})  # type: ignore[arg-type]
    assert diverged_at([60.1], guard=guard)[0] == 1
