"""The names under which the numbers of docs/signals.md go into a log: `what/of which`, so that viewers put together
what belongs on one page (loss/train beside loss/val, gradient_norm/<each layer>)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

_EPOCH = {
    "lr": "lr",
    "loss": "loss/train",
    "val_loss": "loss/val",
    "probe_loss": "loss/probe",
    "penalty": "loss/penalty",
    "accuracy": "accuracy/train",
    "val_accuracy": "accuracy/val",
    "probe_accuracy": "accuracy/probe",
    "seconds": "seconds",
}
_STAGE = {
    "sanity": ("first_loss", "expected_first_loss", "penalty"),
    "overfit": ("overfit_loss", "overfit_steps"),
    "lr_range": ("proposed_lr", "best_loss"),
    "train": ("best_epoch", "val_accuracy", "val_loss"),
    "evaluate": ("test_accuracy", "test_loss"),
}
_SAMPLE = ("logit_std", "gradient_noise", "gradient_ratio")


def epoch_metrics(row: Mapping[str, float]) -> dict[str, float]:
    """A row of the history: means over the epoch, and the scores after it."""
    return {name: row[key] for key, name in _EPOCH.items() if key in row} | {"epoch": row["epoch"]}


def unit_metrics(units: Mapping[str, Any], epoch: float) -> dict[str, float]:
    """Share of each layer's units that were never active, or always saturated, over the probe after `epoch`."""
    if not units or epoch not in units["epoch"]:
        return {}
    i = units["epoch"].index(epoch)
    found: dict[str, float] = {}
    for key in ("dead", "saturated"):
        found |= _per_layer(f"{key}_units", units["name"], units[key][i])
    return found


def step_metrics(samples: Mapping[str, Any], i: int) -> dict[str, float]:
    """The i-th step that was looked at in full."""
    weights, activations = samples["weights"], samples["activations"]
    gradient, weight, update = (weights[key][i] for key in ("gradient", "weight", "update"))
    ratio = [u / w if w else math.nan for u, w in zip(update, weight, strict=True)]
    return {
        "sampled_lr": samples["lr"][i],
        **{key: value for key in _SAMPLE if (value := samples[key][i]) is not None},
        **_per_layer("gradient_norm", weights["name"], gradient),
        **_per_layer("weight_norm", weights["name"], weight),
        **_per_layer("update_ratio", weights["name"], ratio),
        **_per_layer("activation_mean", activations["name"], activations["mean"][i]),
        **_per_layer("activation_std", activations["name"], activations["std"][i]),
    }


def stage_metrics(name: str, metrics: Mapping[str, Any], *, passed: bool) -> dict[str, float]:
    """What a stage came to, of what is no configuration; outcome.json has the rest."""
    found = {key: metrics.get(key) for key in _STAGE.get(name, ())}
    known = {f"{name}/{key}": float(value) for key, value in found.items() if isinstance(value, (int, float))}
    return known | {f"{name}/passed": float(passed)}


def _per_layer(what: str, names: list[str], values: list[float | None]) -> dict[str, float]:
    return {f"{what}/{name}": value for name, value in zip(names, values, strict=True) if value is not None}
