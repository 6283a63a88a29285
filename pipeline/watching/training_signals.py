"""The signals of `train` of docs/signals.md, from what a watch has collected."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import Optimizer

from pipeline.signals.recorder import Recorder
from pipeline.watching.curves import Curves
from pipeline.watching.optimizers import GivenOptimizer

MAX_ENTRIES = 10_000
"""Most entries of `losses` and `accuracies`; longer runs are averaged over equal numbers of steps."""


def training_signals(
    curves: Curves,
    recorder: Recorder,
    optimizers: Sequence[Optimizer],
    more: dict[str, Any],
    *,
    network: nn.Module,
    epochs: int | None,
    running: bool,
) -> dict[str, Any]:
    """Return the signals; what a loop did not show is absent. `more` are signals that were measured otherwise."""
    signals = curves.signals()
    steps = len(signals["losses"])
    per_step = signals["train_examples"] / max(1, signals["steps_per_epoch"])
    if curves.classes is not None:
        signals["classes"] = curves.classes
    signals["batch_size"] = max(1, round(per_step))
    signals["epochs_planned"] = epochs or len(curves.rows) + running
    signals |= GivenOptimizer(optimizers[0], None).config_signals() if optimizers else {}
    signals["batchnorm_layers"] = sum(isinstance(module, _BatchNorm) for module in network.modules())
    signals |= {"samples": recorder.samples} if recorder.samples["step"] else {}
    signals |= more | ({"running": True} if running else {})
    if steps > MAX_ENTRIES:
        stride = -(-steps // MAX_ENTRIES)
        signals["steps_per_entry"] = stride
        signals |= {key: _average(signals[key], stride) for key in ("losses", "accuracies")}
    return signals


def _average(values: Sequence[float], stride: int) -> list[float]:
    groups = (values[i : i + stride] for i in range(0, len(values), stride))
    return [sum(group) / len(group) for group in groups]
