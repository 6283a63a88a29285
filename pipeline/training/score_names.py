"""The scores of each task by name; without torch, so that commands may read them at once.

Tasks are those of `pipeline.data.dataset.TASKS`.
"""

from __future__ import annotations

METRICS = {
    "classification": ("accuracy", "balanced_accuracy", "f1", "precision", "recall", "auc"),
    "multilabel": ("accuracy", "exact_match", "f1", "precision", "recall", "auc"),
    "regression": ("r2", "mae", "rmse"),
}
"""Metrics of each task. Means over classes (macro) but for accuracy and exact_match; balanced_accuracy is recall."""
FALLING = ("loss", "mae", "rmse")
"""Scores of which the lowest is the best."""


def validation_scores() -> list[str]:
    """Return the names of all scores of a validation split."""
    names = [f"val_{name}" for metrics in METRICS.values() for name in metrics]
    return list(dict.fromkeys(["val_accuracy", "val_loss", *names]))


def is_falling(name: str) -> bool:
    """Return whether the lowest value of the score is the best."""
    return name.removeprefix("val_") in FALLING
