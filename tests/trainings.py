"""A small training, stopped and resumed, and what two of them left compared bit by bit."""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from pipeline.errors import Interrupted
from pipeline.stages.train import Train
from pipeline.workflow.components import Components, Outcome

STEPS = 4  # an epoch: 200 examples in batches of 64
RANDOM = ("regularization=l2_dropout", "augmentation=crop_flip")

PartsOf = Callable[..., Components]


def train(epochs: int = 3, **options: Any) -> Train:
    return Train(**({"epochs": epochs, "break_factor": 100.0, "patience": None, "monitor": "val_accuracy"} | options))


def read(parts: Components, name: str = "last") -> dict[str, Any]:
    return torch.load(parts.directory / "checkpoints" / f"{name}.ckpt", weights_only=True)


def differences(a: Any, b: Any, path: str = "") -> list[str]:
    """Where two checkpoints differ in a bit; the clock and the configuration apart."""
    if isinstance(a, Tensor):
        return [] if a.dtype == b.dtype and torch.equal(a, b) else [path]
    if isinstance(a, dict):
        if a.keys() != b.keys():
            return [f"{path}: {a.keys() ^ b.keys()}"]
        return [
            d for key in a if key not in ("seconds", "config") for d in differences(a[key], b[key], f"{path}/{key}")
        ]
    if isinstance(a, (list, tuple)):
        if len(a) != len(b):
            return [f"{path}: {len(a)} and {len(b)} long"]
        return [d for i in range(len(a)) for d in differences(a[i], b[i], f"{path}/{i}")]
    return [] if a == b else [f"{path}: {a} and {b}"]


def stop_at(parts: Components, step: int) -> Components:
    """The parts of a run whose end is asked for once `step` optimizer steps are done."""

    def progress(done: float, total: float, **_: float) -> None:
        if done >= step:
            parts.stopper.pending_signal = signal.SIGTERM

    return replace(parts, progress=progress)


def stopped(stage: Train, parts: Components, step: int) -> Path:
    """The checkpoint of a run that was asked to end at `step`."""
    with pytest.raises(Interrupted) as stop:
        stage(stop_at(parts, step), [])
    assert stop.value.signal == signal.SIGTERM
    return parts.directory / "checkpoints" / "last.ckpt"


def resumed(stage: Train, parts: Components, checkpoint: Path) -> tuple[Components, Outcome]:
    parts = replace(parts, resume=checkpoint)
    return parts, stage(parts, [])


def without_seconds(history: Sequence[dict[str, float]]) -> list[dict[str, float]]:
    return [{name: value for name, value in row.items() if name != "seconds"} for row in history]
