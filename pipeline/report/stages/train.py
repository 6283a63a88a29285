"""The stage `train`: curves, gradients, updates and activations of the training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import chain

from pipeline.report.blocks import Block
from pipeline.report.figures import curves, data, layers
from pipeline.report.stage_view import ExpectedValue, Metrics, Signals, StageData, Tile, numbers

CHART_PRIORITY = 40


def headline_tile(stage: StageData) -> Tile | None:
    """Return the validation accuracy, or by how much the cost exploded."""
    m = stage.metrics
    if m.get("exploded"):
        note = f"at step {m['exploded_step']}; expected below {m['break_factor']:g}"
        return Tile("cost / original cost", f"{m['exploded_cost'] / m['original_cost']:.3g}", note, stage.tile_status)
    if m.get("val_r2") is not None:
        note = f"epoch {m['best_epoch'] + 1} of {m['epochs']}"
        return Tile("validation R2", f"{m['val_r2']:.3f}", note, stage.tile_status)
    if m.get("val_accuracy") is None:
        return None
    training = ((stage.signals.get("epochs") or {}).get("probe_accuracy") or [None])[-1]
    note = f"epoch {m['best_epoch'] + 1} of {m['epochs']}" + (f"; training accuracy {training:.3f}" if training else "")
    return Tile("validation accuracy", f"{m['val_accuracy']:.3f}", note, stage.tile_status)


def expected_values(signals: Signals) -> list[ExpectedValue]:
    """Return the expectations of a training."""
    return [*_accuracies(signals), *_update_ratio(signals), *_explosion(signals), *_dead_units(signals)]


def charts(stage: StageData) -> Sequence[Block | None]:
    """Return the charts of the training, also of one that has not ended."""
    signals, run = stage.signals, stage.run
    if not signals:
        return []
    samples, units = signals.get("samples") or {}, signals.get("units") or {}
    shape, shape_steps = stage.metrics.get("loss_shape"), stage.metrics.get("loss_shape_at") or ()
    units_before = run.signals.get("sanity", {}).get("activations") or {}
    return [
        curves.loss(signals, findings=stage.findings, shape=shape, at=shape_steps),
        curves.accuracy(signals, test=run.metrics.get("test_accuracy") if stage.is_last_training else None),
        layers.gradients(samples),
        layers.updates(samples),
        layers.activation_ridgeline(
            signals.get("histograms") or {},
            chart_id="activations-after",
            title="Activations after training",
            ill=stage.has_finding(*layers.ACTIVATION_CHECKS),
            note=layers.RIDGELINE_NOTE,
        ),
        layers.inactive_units(units_before, units),
        curves.rate(samples),
        data.filters(stage.images, "First-layer filters after training"),
    ]


def metric_rows(metrics: Metrics) -> dict[str, float]:
    """Return the scores on the validation split."""
    return numbers(metrics, *(name for name in metrics if name.startswith("val_")))


def _accuracies(s: Signals) -> list[ExpectedValue]:
    epochs = s.get("epochs") or {}
    if not epochs.get("val_accuracy") or "chance_accuracy" not in s:
        return []
    training, chance = (epochs.get("probe_accuracy") or epochs.get("accuracy") or [None])[-1], s["chance_accuracy"]
    val, expected = epochs["val_accuracy"][-1], f"far above chance, {chance:.3g}"
    if training is None or val is None:
        return []
    checks = ("underfitting", "over_regularized")
    return [
        ExpectedValue("training accuracy, last epoch", f"{training:.4f}", expected, training > 2 * chance, checks),
        ExpectedValue("validation accuracy, last epoch", f"{val:.4f}", "little below that", None, ("overfitting",)),
    ]


def _update_ratio(s: Signals) -> list[ExpectedValue]:
    weights = (s.get("samples") or {}).get("weights") or {}
    pairs = zip(chain(*weights.get("update", [])), chain(*weights.get("weight", [])), strict=True)
    ratios = sorted(ratio for update, weight in pairs if weight and math.isfinite(ratio := update / weight))
    if not ratios:
        return []
    median = ratios[len(ratios) // 2]
    checks = ("update_ratio_high", "update_ratio_low", "rate_too_high", "rate_too_low")
    is_near = 1e-4 < median < 1e-2
    return [ExpectedValue("update / weight, median", f"{median:.2g}", "about 0.001", is_near, checks)]


def _explosion(s: Signals) -> list[ExpectedValue]:
    if not s.get("exploded"):
        return []
    limit = f"below {s['break_factor'] * s['original_cost']:.4g}"
    what = f"cost at step {s['exploded_step']}"
    return [ExpectedValue(what, f"{s['exploded_cost']:.4g}", limit, False, ("loss_exploding",))]


def _dead_units(s: Signals) -> list[ExpectedValue]:
    fractions = [dead for dead in ((s.get("units") or {}).get("dead") or [[]])[-1] if dead is not None]
    if not fractions:
        return []
    worst = max(fractions)
    return [ExpectedValue("dead units, worst layer", f"{100 * worst:.1f} %", "few", worst < 0.1, ("dead_units",))]
