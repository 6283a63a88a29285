"""Curves of the short trainings before the training itself: fitting a few examples, and the sweep of learning rates."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from pipeline.report.blocks import BLUE, GREEN, PURPLE, Chart
from pipeline.report.figures.traces import (
    HOVER_BY_STEP,
    LOG,
    LOG_FIRST,
    axis,
    chart_label,
    downsample,
    line,
    reference_line,
)

Signals = Mapping[str, Any]
FEW_POINTS = 60
"""Points below which each is drawn."""


def lr_range(metrics: Signals) -> Chart | None:
    """Return the loss against the learning rate, with the proposed and the configured rate."""
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
    for key, name, color, height in (
        ("proposed_lr", "proposed", GREEN, 1),
        ("configured_lr", "configured", PURPLE, 0.9),
    ):
        if value := metrics.get(key):
            vertical = {"type": "line", "x0": value, "x1": value, "yref": "paper", "y0": 0, "y1": 1}
            layout["shapes"].append(vertical | {"line": {"color": color, "width": 2, "dash": "dash"}})
            position = {"x": math.log10(value), "yref": "paper", "y": height}
            label = {"text": f"{name} {value:.2g}", "showarrow": False, "xanchor": "left", "xshift": 4}
            layout["annotations"].append(position | label | {"font": {"color": color}})
    return Chart("lr-range", "Loss against learning rate", {"data": data, "layout": layout}, height=340)


def overfit_curve(overfit: Signals) -> Chart | None:
    """Return loss and accuracy of the stage that must fit a few examples exactly."""
    if not overfit.get("losses"):
        return None
    positions, means = downsample(overfit["losses"])
    data = [line(positions, means, "loss", BLUE) | ({"mode": "lines+markers"} if len(positions) < FEW_POINTS else {})]
    if overfit.get("accuracies"):
        accuracies = downsample(overfit["accuracies"])[1]
        data.append(line(positions, accuracies, "accuracy", GREEN, dash="dot") | {"yaxis": "y2"})
    if "overfit_target" in overfit:
        data.append(reference_line(overfit["overfit_target"], "target", [1, len(overfit["losses"])], left=True))
    right_axis = axis("accuracy", overlaying="y", side="right", range=[0, 1.05], showgrid=False)
    right_axis |= {"tickvals": [0, 0.5, 1], "ticktext": ["0 %", "50 %", "100 %"]}
    layout: dict[str, Any] = {"xaxis": axis("step"), "yaxis": axis("loss (nats)"), "yaxis2": right_axis}
    layout |= HOVER_BY_STEP | {"margin": {"r": 56}}
    if "overfit_reached" in overfit:
        reached = bool(overfit["overfit_reached"])
        layout["annotations"] = [chart_label("target reached" if reached else "target missed", good=reached, y=0.7)]
    return Chart("overfit-loss", "Fit of a few examples", {"data": data, "layout": layout}, views=LOG_FIRST)
