"""The signals of `train` of docs/signals.md, from what a watch has collected."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn
from torch.optim import Optimizer

from pipeline.model.batchnorm import count_batchnorm
from pipeline.signals.long_curves import average_groups, steps_per_entry
from pipeline.signals.recorder import Recorder
from pipeline.watching.curves import Curves
from pipeline.watching.optimizers import GivenOptimizer


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
    signals["batchnorm_layers"] = count_batchnorm(network)
    signals |= {"samples": recorder.samples} if recorder.samples["step"] else {}
    signals |= more | ({"running": True} if running else {})
    if (stride := steps_per_entry(steps)) > 1:
        signals["steps_per_entry"] = stride
        signals |= {key: average_groups(signals[key], stride) for key in ("losses", "accuracies")}
    return signals
