"""The stage `lr_range`: the loss against the learning rate, and the rate that it proposes."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.report.blocks import Block
from pipeline.report.figures import short_runs
from pipeline.report.stage_view import Metrics, StageData, Tile, numbers

CHART_PRIORITY = 30


def headline_tile(stage: StageData) -> Tile | None:
    """Return the proposed rate beside the configured one."""
    m = stage.metrics
    if not m.get("proposed_lr"):
        return None
    return Tile("proposed rate", f"{m['proposed_lr']:.2g}", f"configured {m['configured_lr']:.2g}", stage.tile_status)


def charts(stage: StageData) -> Sequence[Block | None]:
    """Return the curve of the sweep."""
    return [short_runs.lr_range(stage.metrics)]


def metric_rows(metrics: Metrics) -> dict[str, float]:
    """Return the proposed rate, and the losses at the first step and at the best."""
    return numbers(metrics, "proposed_lr", "first_loss", "best_loss")
