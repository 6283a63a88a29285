"""The stage `evaluate`: the scores on the test split, and the mistakes."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.report.blocks import Block
from pipeline.report.figures import data, predictions, scores
from pipeline.report.stage_view import Metrics, StageData, Tile, format_number, numbers


def headline_tile(stage: StageData) -> Tile:
    """Return the test accuracy, or R2 of targets."""
    m = stage.metrics
    note = f"loss {format_number(m['test_loss'])}"
    if "test_accuracy" in m:
        return Tile("test accuracy", f"{m['test_accuracy']:.3f}", note, stage.tile_status)
    r2 = m.get("test_r2")
    return Tile("test R2", "undefined" if r2 is None else f"{r2:.3f}", note, stage.tile_status)


def charts(stage: StageData) -> Sequence[Block | None]:
    """Return the scores; of classes confusion matrix, calibration and mistakes; of targets the predictions."""
    classes = stage.run.record["data"]["classes"]
    return [
        scores.scores(stage.metrics),
        scores.scores_by_class(stage.metrics, classes),
        *scores.predicted_targets(stage.metrics, classes),
        predictions.confusion(stage.metrics, classes),
        predictions.calibration(stage.metrics),
        predictions.per_class(stage.metrics),
        predictions.mistakes(stage.metrics, data.mistake_images(stage.images), classes),
    ]


def metric_rows(metrics: Metrics) -> dict[str, float]:
    """Return the scores on the test split."""
    return numbers(metrics, *(name for name in metrics if name.startswith("test_")))
