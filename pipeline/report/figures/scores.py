"""The scores of a trained network on the test split: over all classes, by class, and predicted against true targets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.report.blocks import BLUE, MUTED, Cell, Chart, Table
from pipeline.report.figures.traces import axis

NAMES = {
    "test_accuracy": "accuracy",
    "test_balanced_accuracy": "balanced accuracy",
    "test_exact_match": "every label right",
    "test_f1": "F1, mean",
    "test_precision": "precision, mean",
    "test_recall": "recall, mean",
    "test_auc": "area under the ROC curve, mean",
    "test_r2": "R2, mean",
    "test_mae": "mean absolute error",
    "test_rmse": "root of the mean squared error",
}
COLUMNS = {
    "recall": "recall",
    "precision": "precision",
    "f1": "F1",
    "auc": "ROC area",
    "r2": "R2",
    "mae": "mean absolute error",
    "rmse": "root mean squared error",
}
MAX_ROWS = 20
MAX_TARGETS = 4


def scores(metrics: Mapping[str, Any]) -> Table | None:
    """Return the scores over all classes or targets; of records without them, nothing."""
    rows: list[list[Cell]] = [
        [name, _format(metrics[key])] for key, name in NAMES.items() if key in metrics and "by_class" in metrics
    ]
    return Table(["score", "test split"], rows, caption="Means are over classes, labels or targets.") if rows else None


def scores_by_class(metrics: Mapping[str, Any], classes: Sequence[str]) -> Table | None:
    """Return the scores of each class, label or target: the worst first, and of many only these."""
    by_class = metrics.get("by_class") or {}
    columns = [name for name in COLUMNS if name in by_class]
    if not columns or len(classes) < 2:
        return None
    key = by_class["f1" if "f1" in by_class else "r2"]
    order = sorted(range(len(classes)), key=lambda i: (key[i] is not None, key[i] or 0.0))[:MAX_ROWS]
    rows: list[list[Cell]] = [[classes[i], *(_format(by_class[name][i]) for name in columns)] for i in order]
    caption = f"The worst {MAX_ROWS} of {len(classes)}." if len(classes) > MAX_ROWS else ""
    return Table(["name", *(COLUMNS[name] for name in columns)], rows, caption=caption)


def predicted_targets(metrics: Mapping[str, Any], targets: Sequence[str]) -> list[Chart]:
    """Return for each of the first targets the predictions of some test examples against the true values."""
    pairs = metrics.get("predicted")
    if not pairs:
        return []
    return [
        _predicted(name, [row[i] for row in pairs["target"]], [row[i] for row in pairs["prediction"]], i)
        for i, name in enumerate(targets[:MAX_TARGETS])
    ]


def _predicted(name: str, true: Sequence[float], predicted: Sequence[float], number: int) -> Chart:
    ends = [min(true), max(true)]
    data = [
        {"type": "scatter", "mode": "lines", "x": ends, "y": ends, "name": "right", "hoverinfo": "skip",
         "line": {"color": MUTED, "dash": "dot", "width": 1.5}},
        {"type": "scatter", "mode": "markers", "x": list(true), "y": list(predicted), "name": "test examples",
         "marker": {"color": BLUE, "size": 6, "opacity": 0.6}},
    ]  # fmt: skip
    layout = {"xaxis": axis("true"), "yaxis": axis("predicted")}
    return Chart(f"predicted-{number}", f"Predictions of {name}", {"data": data, "layout": layout}, height=420)


def _format(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, (int, float)) else "undefined"
