"""Losses and accuracies over the steps: what the shape of a curve says, with the steps that say it marked."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.report.blocks import BLUE, GREEN, ORANGE, PURPLE, RED, Chart
from pipeline.report.figures.traces import (
    BY_STEP,
    LOG,
    axis,
    downsample,
    highlight_points,
    line,
    reference_line,
    verdict,
)

Signals = Mapping[str, Any]

SHAPES = {
    "nonfinite": "not finite", "loss_exploding": "exploding", "rate_too_high": "exploding", "loss_plateau": "plateau",
    "late_start": "late start", "oscillating_loss": "oscillating", "rate_too_low": "slow",
    "undertrained": "still improving",
}  # fmt: skip
"""Check -> shape of the curve, where the record does not name it."""
LOG_AXIS = {f"yaxis.{key}": value for key, value in LOG.items()}
VIEWS: dict[str, dict[str, Any]] = {"linear": {"yaxis.type": "linear"}, "log": LOG_AXIS}
LOG_FIRST: dict[str, dict[str, Any]] = {"log": VIEWS["log"], "linear": VIEWS["linear"]}


def loss(train: Signals, *, findings: Sequence[Mapping[str, Any]] = (), shape: str | None, at: Sequence[int]) -> Chart:
    """`shape` and `at`: the curve's name and the steps it rests on, where the stage recorded them."""
    losses, epochs = list(train.get("losses", [])), train.get("epochs") or {}
    stride = train.get("steps_per_entry", 1)
    places, means = downsample(losses)
    few = len(epochs.get("step", [])) < 2
    batches = line([p * stride for p in places], means, "each batch", BLUE, width=2 if few else 1)
    data = [batches | ({} if few else {"opacity": 0.35, "hoverinfo": "skip"})]
    if few and len(losses) < 50:
        data[0]["mode"] = "lines+markers"
    if epochs:
        for key, name, color, dash in (
            ("loss", "training", BLUE, "solid"),
            ("val_loss", "validation", ORANGE, "solid"),
            ("penalty", "penalty", PURPLE, "dash"),
        ):
            if any(epochs.get(key) or ()):
                data.append(line(epochs["step"], epochs[key], name, color, dash=dash))
    ends = [0, max(len(losses) * stride, *epochs.get("step", [1]))]
    if train.get("chance_loss") is not None and not train.get("exploded"):
        data.append(reference_line(train["chance_loss"], "chance", ends))
    if train.get("exploded"):
        limit = train["break_factor"] * train["original_cost"]
        data.append(
            reference_line(limit, f"{train['break_factor']:g} x the original cost: stop", ends, color=RED, left=True)
        )
    layout: dict[str, Any] = BY_STEP | {"xaxis": axis("step"), "yaxis": axis("loss (nats)"), "annotations": []}
    shape = shape or _shape(train, findings)
    good = shape in ("good", "still_improving")
    if shape is not None:
        layout["annotations"].append(verdict(shape.replace("_", " "), good=good))
    evidence = _evidence(train, findings, at, losses, stride)
    if evidence:
        data.append(
            highlight_points(
                [step for step, _ in evidence], [value for _, value in evidence], "evidence", GREEN if good else RED
            )
        )
    huge = train.get("exploded") or (shape and "explod" in shape)
    return Chart("loss", "Loss", {"data": data, "layout": layout}, views=LOG_FIRST if huge else VIEWS, height=360)


def accuracy(train: Signals, *, test: float | None = None) -> Chart | None:
    """Training and validation, the gap between them shaded."""
    epochs = train.get("epochs") or {}
    if not epochs.get("val_accuracy"):
        return None
    steps, known, unseen = epochs["step"], *_both(epochs)
    gap = known[-1] - unseen[-1]
    data = [
        line(steps, unseen, "validation", ORANGE),
        line(steps, known, "training examples", BLUE)
        | {"fill": "tonexty", "fillcolor": "rgba(217,134,0,.18)" if gap > 0 else "rgba(0,0,0,0)"},
    ]
    if epochs.get("probe_accuracy"):
        data.append(line(steps, epochs["accuracy"], "as trained", BLUE, width=1, dash="dot"))
    if test is not None:
        star = {"symbol": "diamond", "size": 11, "color": GREEN}
        data.append(
            {"type": "scatter", "mode": "markers", "x": [steps[-1]], "y": [test], "name": "test", "marker": star}
        )
    if "chance_accuracy" in train:
        data.append(reference_line(train["chance_accuracy"], "chance", steps))
    layout: dict[str, Any] = BY_STEP | {"xaxis": axis("step"), "yaxis": axis("accuracy", tickformat=".0%")}
    layout["annotations"] = [_gap(steps[-1], known[-1], unseen[-1])]
    layout["yaxis"]["range"] = [0, 1.03]
    return Chart("accuracy", "Accuracy, and the gap", {"data": data, "layout": layout}, height=360)


def rate(samples: Signals) -> Chart | None:
    if not samples.get("lr") or len(samples["lr"]) < 3:
        return None
    data = [line(samples["step"], samples["lr"], "rate", BLUE)]
    figure = {"data": data, "layout": {"xaxis": axis("step"), "yaxis": axis("learning rate", rangemode="tozero")}}
    return Chart("rate", "Learning rate", figure, height=260)


def lr_range(metrics: Signals) -> Chart | None:
    """The loss against the rate, and the rate that is proposed."""
    if not metrics.get("rates"):
        return None
    data = [
        line(metrics["rates"], metrics["losses"], "each step", BLUE, width=1) | {"opacity": 0.45},
        line(metrics["rates"], metrics["smoothed"], "smoothed", BLUE, width=2.6),
    ]
    finite = [value for value in metrics["smoothed"] if isinstance(value, (int, float)) and math.isfinite(value)]
    top = 1.25 * max(finite[: max(1, len(finite) * 2 // 3)], default=1.0)
    layout: dict[str, Any] = {"xaxis": axis("learning rate", **LOG), "yaxis": axis("loss (nats)", range=[0, top])}
    layout |= {"shapes": [], "annotations": []}
    for key, name, color in (("proposed_lr", "proposed", GREEN), ("configured_lr", "configured", PURPLE)):
        if metrics.get(key):
            upright = {"type": "line", "x0": metrics[key], "x1": metrics[key], "yref": "paper", "y0": 0, "y1": 1}
            layout["shapes"].append(upright | {"line": {"color": color, "width": 2, "dash": "dash"}})
            place = {"x": math.log10(metrics[key]), "yref": "paper", "y": 1 if color == GREEN else 0.9}
            word = {"text": f"{name} {metrics[key]:.2g}", "showarrow": False, "xanchor": "left", "xshift": 4}
            layout["annotations"].append(place | word | {"font": {"color": color}})
    return Chart("lr-range", "Loss against learning rate", {"data": data, "layout": layout}, height=340)


def overfit_curve(overfit: Signals) -> Chart | None:
    """A few examples learned by heart, or not."""
    if not overfit.get("losses"):
        return None
    places, means = downsample(overfit["losses"])
    data = [line(places, means, "loss", BLUE) | ({"mode": "lines+markers"} if len(places) < 60 else {})]
    if overfit.get("accuracies"):
        right = downsample(overfit["accuracies"])[1]
        data.append(line(places, right, "share right", GREEN, dash="dot") | {"yaxis": "y2"})
    if "overfit_target" in overfit:
        data.append(reference_line(overfit["overfit_target"], "target", [1, len(overfit["losses"])], left=True))
    second = axis("share right", overlaying="y", side="right", range=[0, 1.05], showgrid=False)
    second |= {"tickvals": [0, 0.5, 1], "ticktext": ["0 %", "50 %", "100 %"]}
    layout: dict[str, Any] = BY_STEP | {"xaxis": axis("step"), "yaxis": axis("loss (nats)"), "yaxis2": second}
    layout["margin"] = {"r": 56}
    if "overfit_reached" in overfit:
        reached = bool(overfit["overfit_reached"])
        layout["annotations"] = [verdict("learned by heart" if reached else "cannot", good=reached, y=0.7)]
    return Chart("by-heart", "A few examples, learned by heart", {"data": data, "layout": layout}, views=LOG_FIRST)


def _gap(step: float, known: float, unseen: float) -> dict[str, Any]:
    """The gap in words: inside it where there is room, below it where not."""
    gap = known - unseen
    inside = gap > 0.12
    place = {"x": step, "y": (known + unseen) / 2 if inside else min(known, unseen), "xanchor": "right", "xshift": -12}
    place |= {"yanchor": "middle" if inside else "top", "yshift": 0 if inside else -14, "showarrow": False}
    return place | {"text": f"gap {100 * gap:.1f} points", "font": {"size": 15, "color": ORANGE}}


def _both(epochs: Signals) -> tuple[list[float], list[float]]:
    return list(epochs.get("probe_accuracy") or epochs["accuracy"]), list(epochs["val_accuracy"])


def _shape(train: Signals, findings: Sequence[Mapping[str, Any]]) -> str | None:
    named = [SHAPES[f["check"]] for f in findings if f["check"] in SHAPES and f["severity"] != "info"]
    if named:
        return named[0]
    if train.get("exploded"):
        return "exploding"
    return "not finite" if train.get("nonfinite") else None


def _evidence(
    train: Signals, findings: Sequence[Mapping[str, Any]], at: Sequence[int], losses: Sequence[float], stride: int
) -> list[tuple[int, float]]:
    """(step, loss) of the steps that the shape rests on."""
    steps = list(at) or [f["step"] for f in findings if f["check"] in SHAPES and f["step"] is not None]
    steps = steps or [train[key] for key in ("exploded_step", "nonfinite_step") if train.get(key) is not None]
    found = []
    for step in dict.fromkeys(int(step) for step in steps):
        value = losses[(step - 1) // stride] if 0 < step <= len(losses) * stride else math.nan
        value = value if math.isfinite(value) else max((v for v in losses if math.isfinite(v)), default=math.nan)
        if math.isfinite(value):
            found.append((step, value))
    return found
