"""Losses and accuracies over the steps, with the name of the curve's shape and the steps that show it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.checks.curve_shape import BROKEN_SHAPE_OF_CHECK, HEALTHY_SHAPES, SHAPE_OF_CHECK
from pipeline.report.blocks import BLUE, GREEN, ORANGE, PURPLE, RED, Chart
from pipeline.report.figures.traces import (
    HOVER_BY_STEP,
    LINEAR_FIRST,
    LOG_FIRST,
    axis,
    chart_label,
    downsample,
    highlight_points,
    line,
    reference_line,
)

Signals = Mapping[str, Any]

SHAPES = {**BROKEN_SHAPE_OF_CHECK, **SHAPE_OF_CHECK}
"""Check -> shape of the curve, where the record does not name it."""
FEW_STEPS = 50
"""Steps below which each is drawn as a point."""
ROOMY_GAP = 0.12
"""Accuracy between the two curves from which on the gap's number fits between them."""


def loss(train: Signals, *, findings: Sequence[Mapping[str, Any]] = (), shape: str | None, at: Sequence[int]) -> Chart:
    """Return the loss of each step and epoch. `shape` and `at` are the curve's name and the steps that show it."""
    losses, epochs = list(train.get("losses", [])), train.get("epochs") or {}
    stride = train.get("steps_per_entry", 1)
    ends = [0, max(len(losses) * stride, *epochs.get("step", [1]))]
    layout: dict[str, Any] = HOVER_BY_STEP | {"xaxis": axis("step"), "yaxis": axis("loss (nats)"), "annotations": []}
    data = [_batch_losses(losses, stride, epochs), *_epoch_losses(epochs), *_loss_references(train, ends)]
    shape = shape or _shape(train, findings)
    good = shape in HEALTHY_SHAPES
    if shape is not None:
        layout["annotations"].append(chart_label(shape, good=good))
    if evidence := _evidence(train, findings, at, losses, stride):
        steps, values = ([point[i] for point in evidence] for i in (0, 1))
        data.append(highlight_points(steps, values, "evidence", GREEN if good else RED))
    is_huge = train.get("exploded") or shape == "exploding"
    views = LOG_FIRST if is_huge else LINEAR_FIRST
    return Chart("loss", "Loss", {"data": data, "layout": layout}, views=views, height=360)


def _batch_losses(losses: Sequence[float], stride: int, epochs: Signals) -> dict[str, Any]:
    """Return the loss of each step, faint where there are epochs to see."""
    positions, means = downsample(losses)
    is_main = len(epochs.get("step", [])) < 2
    trace = line([p * stride for p in positions], means, "each batch", BLUE, width=2 if is_main else 1)
    trace |= {} if is_main else {"opacity": 0.35, "hoverinfo": "skip"}
    return trace | ({"mode": "lines+markers"} if is_main and len(losses) < FEW_STEPS else {})


def _epoch_losses(epochs: Signals) -> list[dict[str, Any]]:
    """Return the losses of training and validation and the penalty, after each epoch."""
    columns = (
        ("loss", "training", BLUE, "solid"),
        ("val_loss", "validation", ORANGE, "solid"),
        ("penalty", "penalty", PURPLE, "dash"),
    )
    return [
        line(epochs["step"], epochs[key], name, color, dash=dash)
        for key, name, color, dash in columns
        if any(epochs.get(key) or ())
    ]


def _loss_references(train: Signals, ends: Sequence[float]) -> list[dict[str, Any]]:
    """Return the loss of chance, or the limit at which a diverging training was stopped."""
    if train.get("exploded"):
        limit = train["break_factor"] * train["original_cost"]
        text = f"{train['break_factor']:g} x the original cost: training stops"
        return [reference_line(limit, text, ends, color=RED, left=True)]
    return [] if train.get("chance_loss") is None else [reference_line(train["chance_loss"], "chance", ends)]


def accuracy(train: Signals, *, test: float | None = None) -> Chart | None:
    """Return the accuracy (or R2) of training and validation after each epoch, the gap between them shaded."""
    epochs = train.get("epochs") or {}
    score = "r2" if epochs.get("val_r2") else "accuracy"
    if not epochs.get(f"val_{score}"):
        return None
    steps, val = epochs["step"], list(epochs[f"val_{score}"])
    training = list(epochs.get(f"probe_{score}") or epochs.get(score) or ())
    has_gap = bool(training) and training[-1] is not None and val[-1] is not None  # a watched loop may leave some out
    data = [line(steps, val, "validation", ORANGE)]
    if training:
        shade = "rgba(217,134,0,.18)" if has_gap and training[-1] > val[-1] else "rgba(0,0,0,0)"
        data.append(line(steps, training, "training", BLUE) | {"fill": "tonexty", "fillcolor": shade})
    if epochs.get(f"probe_{score}") and epochs.get(score):
        data.append(line(steps, epochs[score], "training, during the epoch", BLUE, width=1, dash="dot"))
    if test is not None:
        diamond = {"symbol": "diamond", "size": 11, "color": GREEN}
        data.append(
            {"type": "scatter", "mode": "markers", "x": [steps[-1]], "y": [test], "name": "test", "marker": diamond}
        )
    if "chance_accuracy" in train:
        data.append(reference_line(train["chance_accuracy"], "chance", steps))
    layout: dict[str, Any] = HOVER_BY_STEP | {"xaxis": axis("step"), "yaxis": axis(score)}
    if score == "accuracy":
        layout["yaxis"] |= {"tickformat": ".0%", "range": [0, 1.03]}
    layout["annotations"] = [_gap_label(steps[-1], training[-1], val[-1])] if has_gap else []
    title = "R2 and generalization gap" if score == "r2" else "Accuracy and generalization gap"
    return Chart("accuracy", title, {"data": data, "layout": layout}, height=360)


def _gap_label(step: float, training: float, val: float) -> dict[str, Any]:
    """Return the number of the gap, inside it where there is room and below it otherwise."""
    gap = training - val
    fits = gap > ROOMY_GAP
    position = {"x": step, "y": (training + val) / 2 if fits else min(training, val), "xanchor": "right", "xshift": -12}
    position |= {"yanchor": "middle" if fits else "top", "yshift": 0 if fits else -14, "showarrow": False}
    return position | {"text": f"gap {100 * gap:.1f} points", "font": {"size": 15, "color": ORANGE}}


def rate(samples: Signals) -> Chart | None:
    """Return the learning rate over the sampled steps."""
    if not samples.get("lr") or len(samples["lr"]) < 3:
        return None
    data = [line(samples["step"], samples["lr"], "rate", BLUE)]
    figure = {"data": data, "layout": {"xaxis": axis("step"), "yaxis": axis("learning rate", rangemode="tozero")}}
    return Chart("rate", "Learning rate", figure, height=260)


def _shape(train: Signals, findings: Sequence[Mapping[str, Any]]) -> str | None:
    """Return the name of the curve's shape by the findings, for records that do not have it."""
    named = [SHAPES[f["check"]] for f in findings if f["check"] in SHAPES and f["severity"] != "info"]
    if named:
        return named[0]
    if train.get("exploded"):
        return "exploding"
    return "not finite" if train.get("nonfinite") else None


def _evidence(
    train: Signals, findings: Sequence[Mapping[str, Any]], at: Sequence[int], losses: Sequence[float], stride: int
) -> list[tuple[int, float]]:
    """Return (step, loss) of the steps that show the shape. A loss that is not finite is drawn at the highest one."""
    steps = list(at) or [f["step"] for f in findings if f["check"] in SHAPES and f["step"] is not None]
    steps = steps or [train[key] for key in ("exploded_step", "nonfinite_step") if train.get(key) is not None]
    points = []
    for step in dict.fromkeys(int(step) for step in steps):
        value = losses[(step - 1) // stride] if 0 < step <= len(losses) * stride else math.nan
        value = value if math.isfinite(value) else max((v for v in losses if math.isfinite(v)), default=math.nan)
        if math.isfinite(value):
            points.append((step, value))
    return points
