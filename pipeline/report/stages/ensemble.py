"""The stage `ensemble`: several networks together against each alone."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.report.blocks import Block
from pipeline.report.figures import predictions
from pipeline.report.stage_view import Metrics, StageData, Tile, numbers


def headline_tile(stage: StageData) -> Tile | None:
    """Return the accuracy of the ensemble beside that of its best member."""
    m = stage.metrics
    if "ensemble_accuracy" not in m:
        return None
    best = max(m["member_accuracies"], default=0.0)
    return Tile("ensemble, validation", f"{m['ensemble_accuracy']:.3f}", f"best member {best:.3f}", stage.tile_status)


def charts(stage: StageData) -> Sequence[Block | None]:
    """Return the accuracies of the members and of the ensemble."""
    return [predictions.members(stage.metrics)]


def metric_rows(metrics: Metrics) -> dict[str, float]:
    """Return accuracy and loss of the ensemble."""
    return numbers(metrics, "ensemble_accuracy", "ensemble_log_loss")
