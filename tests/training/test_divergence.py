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


def diverged_at(losses: Sequence[float], *, factor: float | None = 3.0, batch: int = 16) -> tuple[int | None, Any]:
    """Return the step at which the guard ends a training with these losses, and its signals."""
    guard = DivergenceGuard(
        total_steps=len(losses),
        break_factor=factor,
        on_epoch_checks=lambda classifier: [],
        on_finding=lambda finding: None,
        progress=lambda done, total, **_: None,
    )
    classifier: Any = Classifier.__new__(Classifier)
    torch.nn.Module.__init__(classifier)
    classifier.checkpoint_extra, classifier.history, classifier.epoch = {}, [], 0
    classifier.record_steps = lambda losses, sizes: None
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
        ([2.0, 5.9, 6.1], 3),  # above three times the first
        ([2.0, 6.0, 6.0], None),  # not above
        ([-2.0, 1.9, 2.1], 3),  # negative losses: above first + 2 |first|
        ([0.0, 1.0, 9.0], None),  # three times nothing is no bound
        ([2.0, 1.0, math.nan], 3),
        ([2.0, math.inf], 2),
    ],
)
def test_step(losses: list[float], step: int | None) -> None:
    assert diverged_at(losses)[0] == step


def test_without_a_factor_nothing_ends_it() -> None:
    assert diverged_at([2.0, 1e9, math.nan], factor=None) == (None, {})


def test_signals_say_where() -> None:
    _, signals = diverged_at([2.0, 8.0])
    assert signals == {
        "exploded": True, "break_factor": 3.0, "exploded_cost": 8.0, "exploded_step": 2, "original_cost": 2.0,
    }  # fmt: skip


def test_tiny_batches_are_averaged() -> None:
    """With batches of one, a single wrong answer among sixteen examples is no explosion."""
    assert diverged_at([1.0] * 15 + [20.0] + [1.0] * 16, batch=1)[0] is None
    assert diverged_at([1.0] * 15 + [20.0] * 4, batch=1)[0] == 17
