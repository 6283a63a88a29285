"""Figures of merit of outputs (N, C) against labels, for each task; computed by torchmetrics on the CPU.

Classes that have no example, labels that no example has, and constant targets have no score: they are NaN, and means
over classes leave them out.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from pipeline.data.dataset import CLASSIFICATION, MULTILABEL, REGRESSION
from pipeline.errors import UserError, did_you_mean
from pipeline.model.task import SCORES, to_probabilities
from pipeline.training.score_names import METRICS

AUTO = "auto"


def choose_monitor(task: str, monitor: str) -> str:
    """Return the score that `monitor` names: `val_loss` or a metric of the task with `val_` before it.

    `auto` stands for the accuracy, and in regression for the loss. Raises `UserError` for others.
    """
    if monitor == AUTO:
        return "val_loss" if task == REGRESSION else "val_accuracy"
    known = ["val_loss", *(f"val_{name}" for name in METRICS[task])]
    if monitor not in known:
        hint = did_you_mean(str(monitor), known)
        raise UserError(f"{task} has the scores {', '.join(known)}, but not {monitor!r}.{hint}", field="monitor")
    return monitor


def needs_outputs(task: str, name: str) -> bool:
    """Return whether the score needs all outputs at once, and is not a mean over examples."""
    return name not in ("val_loss", f"val_{SCORES[task]}")


def compute_metrics(
    task: str,
    outputs: Tensor,
    labels: Tensor,
    *,
    moments: Tensor | None = None,
    names: Sequence[str] | None = None,
    by_class: Mapping[str, Tensor] | None = None,
) -> dict[str, float]:
    """Return the metrics of `task` that `names` asks for; all of them with None.

    `outputs` (N, C) are logits, or standardized targets with their `moments` (2, T): errors are in the targets' units.
    `by_class` is what `metrics_by_class` returned, if that is known.
    """
    if by_class is None:
        by_class = metrics_by_class(task, outputs, labels, moments=moments, names=names)
    metrics = {name: _mean(values) for name, values in by_class.items()}
    outputs, labels = outputs.cpu(), labels.cpu()
    if task == CLASSIFICATION:
        metrics = {"accuracy": float((outputs.argmax(1) == labels).double().mean()), **metrics}
        if "recall" in metrics:
            metrics["balanced_accuracy"] = metrics["recall"]
    if task == MULTILABEL:
        right = (outputs > 0) == (labels > 0.5)
        means = {"accuracy": float(right.double().mean()), "exact_match": float(right.all(1).double().mean())}
        metrics = means | metrics
    wanted = METRICS[task] if names is None else names
    return {name: metrics[name] for name in wanted}


def metrics_by_class(
    task: str, outputs: Tensor, labels: Tensor, *, moments: Tensor | None = None, names: Sequence[str] | None = None
) -> dict[str, Tensor]:
    """Return for each metric its value of every class, label or target, (C,); `accuracy` and its like have none."""
    outputs, labels = outputs.float().cpu(), labels.cpu()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of classes without examples, which are NaN here
        if task == REGRESSION:
            return _of_targets(outputs, labels, moments)
        return _of_classes(task, outputs, labels, METRICS[task] if names is None else names)


def _of_classes(task: str, outputs: Tensor, labels: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
    from torchmetrics import functional  # slow to import

    probabilities, n_classes = to_probabilities(task, outputs).nan_to_num(0.0), outputs.shape[1]
    if task == MULTILABEL:
        labels, counts = labels.long(), labels.sum(0)
        given: dict[str, Any] = {"num_labels": n_classes, "average": None}
        kind = "multilabel"
        if n_classes == 1:  # which torchmetrics calls binary
            given, kind, probabilities, labels = {}, "binary", probabilities[:, 0], labels[:, 0]
    else:
        counts = torch.bincount(labels, minlength=n_classes)
        given, kind = {"num_classes": n_classes, "average": None}, "multiclass"
    by_class: dict[str, Tensor] = {}
    functions = {"f1": "f1_score", "precision": "precision", "recall": "recall", "auc": "auroc"}
    for name, function in functions.items():
        if name in names or (name == "recall" and "balanced_accuracy" in names):
            compute = getattr(functional.classification, f"{kind}_{function}")
            values = compute(probabilities, labels, **given).reshape(-1)
            has_score = (counts > 0) & (counts < len(labels)) if name == "auc" else counts > 0
            by_class[name] = torch.where(has_score, values.double(), torch.nan)
    return by_class


def _of_targets(outputs: Tensor, labels: Tensor, moments: Tensor | None) -> dict[str, Tensor]:
    errors, spread = (outputs - labels).double(), labels.double().var(0, correction=0)
    r2 = torch.where(spread > 0, 1 - errors.square().mean(0) / spread, torch.nan)
    scale = torch.ones(labels.shape[1]).double() if moments is None else moments[1].double().cpu()
    return {"r2": r2, "mae": errors.abs().mean(0) * scale, "rmse": errors.square().mean(0).sqrt() * scale}


def _mean(values: Tensor) -> float:
    """Return the mean of what is not NaN; NaN if there is nothing."""
    return float(values.nanmean()) if not values.isnan().all() else float("nan")
