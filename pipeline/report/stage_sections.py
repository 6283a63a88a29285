"""What a page shows of each stage: a number for the top, a table of measured against expected, and charts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pipeline.report import expected_values
from pipeline.report.blocks import Block, Chart, Text
from pipeline.report.figures import curves, data, layers, predictions

if TYPE_CHECKING:
    from pipeline.report.run_files import Run

STAGES = ("sanity", "overfit", "lr_range", "train", "ensemble", "evaluate")
ACTIVATION_CHECKS = (
    "vanishing_activations",
    "exploding_activations",
    "saturated_units",
    "dead_units",
    "symmetric_units",
)
"""Checks that look at how activations are spread."""


def headline_tile(name: str, stage: Mapping[str, Any], signals: Mapping[str, Any]) -> tuple[str, str, str, str] | None:
    """(what, value, note, status) for the row of large numbers."""
    m = stage["metrics"]
    found = {finding["check"] for finding in stage["findings"] if finding["severity"] != "info"}
    status = "failed" if stage["status"] != "passed" else "warning" if found else "passed"
    if name == "sanity" and "first_loss" in m:
        expected = m.get("expected_first_loss")
        far = expected and isinstance(m["first_loss"], float) and not 0.5 < m["first_loss"] / expected < 1.5
        judged = status if far or found & {"initial_loss", "nonfinite", "output_activation"} else "passed"
        return "first loss", _number(m["first_loss"]), f"expected {expected:.3f}" if expected else "", judged
    if name == "overfit":
        note = f"{m['overfit_steps']} steps, {m['overfit_examples']} examples; expected below {m['overfit_target']:g}"
        return "loss, learned by heart", _number(m["overfit_loss"]), note, status
    if name == "train" and m.get("exploded"):
        note = f"at step {m['exploded_step']}; expected below {m['break_factor']:g}"
        return "cost / original cost", f"{m['exploded_cost'] / m['original_cost']:.3g}", note, status
    if name == "train" and m.get("val_accuracy") is not None:
        known = ((signals.get("epochs") or {}).get("probe_accuracy") or [None])[-1]
        note = f"epoch {m['best_epoch'] + 1} of {m['epochs']}" + (
            f"; on training examples {known:.3f}" if known else ""
        )
        return "validation accuracy", f"{m['val_accuracy']:.3f}", note, status
    if name == "lr_range" and m.get("proposed_lr"):
        return "proposed rate", f"{m['proposed_lr']:.2g}", f"configured {m['configured_lr']:.2g}", status
    if name == "ensemble" and "ensemble_accuracy" in m:
        best = max(m["member_accuracies"], default=0.0)
        return "ensemble, validation", f"{m['ensemble_accuracy']:.3f}", f"its best member {best:.3f}", status
    if name == "evaluate":
        return "test accuracy", f"{m['test_accuracy']:.3f}", f"loss {_number(m['test_loss'])}", status
    return None


def evidence_tiles(finding: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    """Tiles of what a finding rests on."""
    status = "failed" if finding["severity"] == "failure" else "warning"
    return [(name.replace("_", " "), _number(value), "", status) for name, value in finding["measured"].items()]


def stage_charts(name: str, run: Run, *, whole: bool = False) -> list[Any]:
    """The stage's charts, the telling ones first; the `whole` section also has its table and pictures."""
    signals, stage = run.signals.get(name, {}), run.stages.get(name)
    findings = list(stage["findings"]) if stage else []
    metrics = stage["metrics"] if stage else {}
    shown = [block for block in _blocks(name, run, signals, metrics, findings) if block is not None]
    if not whole:
        return [block for block in shown if isinstance(block, Chart)]
    if stage is None:  # not judged
        return shown
    found = {finding["check"]: finding["severity"] for finding in findings}
    table = expected_values.table(name, signals, found)
    return [*([table] if table else []), *shown]


def _blocks(name: str, run: Run, signals: Any, metrics: Any, findings: list[Any]) -> list[Block | None]:
    if name == "overfit":
        return [curves.overfit_curve(signals)]
    if name == "ensemble":
        return [predictions.members(metrics)]
    if name == "lr_range":
        return [curves.lr_range(metrics)]
    stages = {"sanity": _sanity, "train": _train, "evaluate": _evaluate}
    return stages[name](run, signals, metrics, findings) if name in stages else []


def _sanity(run: Run, signals: Any, metrics: Any, findings: list[Any]) -> list[Block | None]:
    ill = any(finding["check"] in ACTIVATION_CHECKS for finding in findings)
    chart = layers.activation_ridgeline(
        signals.get("histograms") or {}, id="spread-before", title="Activations before training", ill=ill, note=_HILLS
    )
    return [
        chart,
        layers.first_gradients(signals.get("gradients") or {}),
        data.filters(run.pictures.get("sanity", {}), "First-layer filters before training"),
    ]


def _train(run: Run, signals: Any, metrics: Any, findings: list[Any]) -> list[Block | None]:
    samples, units = signals.get("samples") or {}, signals.get("units") or {}
    test = run.stages.get("evaluate", {}).get("metrics", {}).get("test_accuracy")
    before = run.signals.get("sanity", {}).get("activations") or {}
    ill = any(finding["check"] in ACTIVATION_CHECKS for finding in findings)
    if not signals:
        return []
    shape = metrics.get("loss_shape")
    return [
        curves.loss(signals, findings=findings, shape=shape, at=metrics.get("loss_shape_at") or ()),
        curves.accuracy(signals, test=test),
        layers.gradients(samples),
        layers.updates(samples),
        layers.activation_ridgeline(
            signals.get("histograms") or {}, id="spread-after", title="Activations after training", ill=ill, note=_HILLS
        ),
        layers.inactive_units(before, units),
        curves.rate(samples),
        data.filters(run.pictures.get("train", {}), "First-layer filters after training"),
    ]


def _evaluate(run: Run, signals: Any, metrics: Any, findings: list[Any]) -> list[Block | None]:
    classes = run.record["data"]["classes"]
    pictures = data.tiles(run.pictures.get("evaluate", {}))
    return [
        predictions.confusion(metrics, classes),
        predictions.calibration(metrics),
        predictions.per_class(metrics),
        predictions.mistakes(metrics, pictures, classes),
    ]


_HILLS = "A row is a layer. A needle is a layer that has collapsed; walls at both ends are saturation; the bar at zero \
is the share of values that are exactly 0."


def data_blocks(run: Run) -> list[Block]:
    """The section on the data."""
    classes, pictures = run.record["data"]["classes"], run.pictures.get("sanity", {})
    blocks: list[Block | None] = [
        data.examples(pictures, classes),
        *data.pca_scatter(pictures, classes),
        data.class_counts(classes, run.record["data"]["class_counts"]),
        data.mean(pictures),
    ]
    return [block for block in blocks if block is not None] or [Text("No pictures of the data were kept.", muted=True)]


def _number(value: Any) -> str:
    """Four digits; numbers that JSON does not know are words in outcome.json already."""
    return f"{value:.4g}" if isinstance(value, (int, float)) else str(value)
