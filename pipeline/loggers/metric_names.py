"""The names under which the numbers of docs/signals.md are logged.

Names are `<what>/<of which>`, so that viewers show on one page what belongs together: `loss/train` and `loss/val`, or
`gradient_norm/` of each layer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

_EPOCH_NAMES = {
    "lr": "lr",
    "loss": "loss/train",
    "val_loss": "loss/val",
    "probe_loss": "loss/probe",
    "penalty": "loss/penalty",
    "accuracy": "accuracy/train",
    "val_accuracy": "accuracy/val",
    "probe_accuracy": "accuracy/probe",
    "r2": "r2/train",
    "val_r2": "r2/val",
    "probe_r2": "r2/probe",
    "val_balanced_accuracy": "balanced_accuracy/val",
    "val_f1": "f1/val",
    "val_precision": "precision/val",
    "val_recall": "recall/val",
    "val_auc": "auc/val",
    "val_exact_match": "exact_match/val",
    "val_mae": "mae/val",
    "val_rmse": "rmse/val",
    "seconds": "seconds",
}
_STEP_KEYS = ("logit_std", "gradient_noise", "gradient_ratio")


def epoch_metrics(row: Mapping[str, float]) -> dict[str, float]:
    """Return the numbers of an epoch: means over its steps, and the scores after it."""
    return {name: row[key] for key, name in _EPOCH_NAMES.items() if key in row} | {"epoch": row["epoch"]}


def unit_metrics(units: Mapping[str, Any], epoch: float) -> dict[str, float]:
    """Return the fraction of each layer's units that are dead or saturated after `epoch`; {} if it was not measured."""
    if not units or epoch not in units["epoch"]:
        return {}
    i = units["epoch"].index(epoch)
    metrics: dict[str, float] = {}
    for key in ("dead", "saturated"):
        metrics |= _per_layer(f"{key}_units", units["name"], units[key][i])
    return metrics


def step_metrics(samples: Mapping[str, Any], i: int) -> dict[str, float]:
    """Return the numbers of the i-th step that was measured in full: logits, gradients, weights, activations."""
    weights, activations = samples["weights"], samples["activations"]
    gradient, weight, update = (weights[key][i] for key in ("gradient", "weight", "update"))
    ratio = [u / w if w else math.nan for u, w in zip(update, weight, strict=True)]
    return {
        "sampled_lr": samples["lr"][i],
        **{key: value for key in _STEP_KEYS if (value := samples[key][i]) is not None},
        **_per_layer("gradient_norm", weights["name"], gradient),
        **_per_layer("weight_norm", weights["name"], weight),
        **_per_layer("update_ratio", weights["name"], ratio),
        **_per_layer("activation_mean", activations["name"], activations["mean"][i]),
        **_per_layer("activation_std", activations["name"], activations["std"][i]),
    }


def stage_metrics(
    stage: str, metrics: Mapping[str, Any], *, passed: bool, keys: Sequence[str] | None = None
) -> dict[str, float]:
    """Return the numbers of a finished stage under `<stage>/<key>`, and whether it passed. `keys` None means all."""
    values = metrics if keys is None else {key: metrics.get(key) for key in keys}
    scalars = {f"{stage}/{key}": float(value) for key, value in values.items() if isinstance(value, (int, float))}
    return scalars | {f"{stage}/passed": float(passed)}


def _per_layer(what: str, names: Sequence[str], values: Sequence[float | None]) -> dict[str, float]:
    return {f"{what}/{name}": value for name, value in zip(names, values, strict=True) if value is not None}
