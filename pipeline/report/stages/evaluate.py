"""The stage `evaluate`: the scores on the test split, and the mistakes."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.report.blocks import Block
from pipeline.report.figures import data, predictions
from pipeline.report.stage_view import Metrics, StageData, Tile, format_number, numbers


def headline_tile(stage: StageData) -> Tile:
    """Return the test accuracy."""
    m = stage.metrics
    note = f"loss {format_number(m['test_loss'])}"
    return Tile("test accuracy", f"{m['test_accuracy']:.3f}", note, stage.tile_status)


def charts(stage: StageData) -> Sequence[Block | None]:
    """Return confusion matrix, calibration, accuracy by class and the most confident mistakes."""
    classes = stage.run.record["data"]["classes"]
    return [
        predictions.confusion(stage.metrics, classes),
        predictions.calibration(stage.metrics),
        predictions.per_class(stage.metrics),
        predictions.mistakes(stage.metrics, data.mistake_images(stage.images), classes),
    ]


def metric_rows(metrics: Metrics) -> dict[str, float]:
    """Return accuracy and loss on the test split."""
    return numbers(metrics, "test_accuracy", "test_loss")
