"""A small training that is interrupted and resumed, and the comparison of two checkpoints bit by bit."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from pipeline.errors import Interrupted
from pipeline.stages.train import Train
from pipeline.workflow.outcome import Outcome
from tests.small_run import SmallRun

STEPS = 4  # an epoch: 200 examples in batches of 64
RANDOM = ("regularization=l2_dropout", "augmentation=crop_flip")


def train(epochs: int = 3, **options: Any) -> Train:
    return Train(**({"epochs": epochs, "break_factor": 100.0, "patience": None, "monitor": "val_accuracy"} | options))


def read(small: SmallRun, name: str = "last") -> dict[str, Any]:
    return torch.load(small.context.directory / "checkpoints" / f"{name}.ckpt", weights_only=True)


def differences(a: Any, b: Any, path: str = "") -> list[str]:
    """Return where two checkpoints differ in a bit, apart from seconds and what was configured."""
    if isinstance(a, Tensor):
        return [] if a.dtype == b.dtype and torch.equal(a, b) else [path]
    if isinstance(a, dict):
        if a.keys() != b.keys():
            return [f"{path}: {a.keys() ^ b.keys()}"]
        return [
            d
            for key in a
            if key not in ("seconds", "config", "options")
            for d in differences(a[key], b[key], f"{path}/{key}")
        ]
    if isinstance(a, (list, tuple)):
        if len(a) != len(b):
            return [f"{path}: {len(a)} and {len(b)} long"]
        return [d for i in range(len(a)) for d in differences(a[i], b[i], f"{path}/{i}")]
    return [] if a == b else [f"{path}: {a} and {b}"]


def stop_at(small: SmallRun, step: int) -> SmallRun:
    """Return the run with a signal pending once `step` optimizer steps are done."""

    def progress(done: float, total: float, **_: float) -> None:
        if done >= step:
            small.context.interrupt_handler.pending_signal = signal.SIGTERM

    return small.replace(progress=progress)


def stopped(stage: Train, small: SmallRun, step: int) -> Path:
    """Interrupt a run at `step` and return its checkpoint."""
    with pytest.raises(Interrupted) as stop:
        stage(*stop_at(small, step), [])
    assert stop.value.signal == signal.SIGTERM
    return small.context.directory / "checkpoints" / "last.ckpt"


def resumed(stage: Train, small: SmallRun, checkpoint: Path) -> tuple[SmallRun, Outcome]:
    """Train on from `checkpoint`, and return the run and its outcome."""
    small = small.replace(resume_from=checkpoint)
    return small, stage(*small, [])


def without_seconds(history: Sequence[dict[str, float]]) -> list[dict[str, float]]:
    return [{name: value for name, value in row.items() if name != "seconds"} for row in history]
