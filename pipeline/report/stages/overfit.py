"""The stage `overfit`: whether a few examples can be fitted exactly."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.report.blocks import Block
from pipeline.report.figures import short_runs
from pipeline.report.stage_view import ExpectedValue, Metrics, Signals, StageData, Tile, format_number, numbers

CHART_PRIORITY = 20


def headline_tile(stage: StageData) -> Tile:
    """Return the loss on the few examples against its target."""
    m = stage.metrics
    note = f"{m['overfit_steps']} steps, {m['overfit_examples']} examples; expected below {m['overfit_target']:g}"
    return Tile("overfit loss", format_number(m["overfit_loss"]), note, stage.tile_status)


def expected_values(signals: Signals) -> list[ExpectedValue]:
    """Return the lowest loss and the number of wrong examples."""
    best, wrong, target = signals["overfit_best_loss"], signals.get("overfit_wrong"), signals["overfit_target"]
    checks = ("cannot_overfit",)
    what = f"lowest loss on {signals['overfit_examples']} examples"
    loss = ExpectedValue(what, f"{best:.4g}", f"below {target:g}", best < target, checks)
    if wrong is None:  # targets are never hit exactly
        return [loss]
    return [loss, ExpectedValue("examples that are wrong at the end", f"{wrong}", "0", not wrong, checks)]


def charts(stage: StageData) -> Sequence[Block | None]:
    """Return the curve of the fit."""
    return [short_runs.overfit_curve(stage.signals)]


def metric_rows(metrics: Metrics) -> dict[str, float]:
    """Return the number of steps."""
    return numbers(metrics, "overfit_steps")
