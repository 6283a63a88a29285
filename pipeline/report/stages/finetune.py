"""The stage `finetune`: the charts of a training, for the second one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pipeline.report.blocks import Block, Chart
from pipeline.report.stage_view import StageData, Tile
from pipeline.report.stages import train
from pipeline.report.stages.train import expected_values, metric_rows

__all__ = ["CHART_PRIORITY", "charts", "expected_values", "headline_tile", "metric_rows"]

CHART_PRIORITY = train.CHART_PRIORITY + 1


def headline_tile(stage: StageData) -> Tile | None:
    """Return the validation accuracy after the second training, or by how much the cost exploded."""
    tile = train.headline_tile(stage)
    return tile and tile._replace(name=f"{tile.name}, fine-tuned")


def charts(stage: StageData) -> Sequence[Block | None]:
    """Return the charts of the second training; a page has those of the first one too."""
    return [
        replace(block, id=f"finetune-{block.id}", title=f"Fine-tuning: {block.title}")
        if isinstance(block, Chart)
        else block
        for block in train.charts(stage)
    ]
