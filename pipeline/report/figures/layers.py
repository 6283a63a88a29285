"""Charts by layer: histograms of activations, inactive units, gradients and updates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

from pipeline.report.blocks import BAND, BLUE, ORANGE, PURPLE, RED, SKY, Chart
from pipeline.report.figures.traces import (
    HOVER_BY_STEP,
    axis,
    bars,
    chart_label,
    depth_colors,
    line,
    log_axis,
    reference_line,
    round_significant,
    short_names,
)

Signals = Mapping[str, Any]

MAX_LAYERS = 12
"""Most layers in a chart, evenly chosen."""
TYPICAL_RATIO = 1e-3
"""Update / weight that CS231n recommends ("Ratio of weights:updates"), and a band of half a decade around it."""
RATIO_BAND = (3e-4, 3e-3)
MIN_RATIO = 1e-7
"""Smaller ratios are left out: at the end of a schedule the rate goes to zero, and all updates with it."""
HEIGHT = 340
ROW_HEIGHT = 0.86
"""Height of the highest histogram, in rows."""
ACTIVATION_CHECKS = (
    "vanishing_activations",
    "exploding_activations",
    "saturated_units",
    "dead_units",
    "symmetric_units",
)
"""Checks that judge how activations are distributed."""
RIDGELINE_NOTE = (
    "A row is a layer. A needle is a layer that has collapsed; walls at both ends are saturation; the bar at zero is "
    "the fraction of values that are exactly 0."
)
FEW_SAMPLES = 8
"""Sampled steps below which each is drawn as a point."""


def sample_layers(count: int) -> list[int]:
    """Return at most `MAX_LAYERS` of `count` indices, evenly chosen, the first and the last among them."""
    if count <= MAX_LAYERS:
        return list(range(count))
    return [round(i * (count - 1) / (MAX_LAYERS - 1)) for i in range(MAX_LAYERS)]


def activation_ridgeline(histograms: Signals, *, chart_id: str, title: str, ill: bool, note: str = "") -> Chart | None:
    """Return one row per layer, the first on top, all on one axis.

    A layer that collapsed is a needle, one that saturates has walls at both ends. The height of the bar at zero is the
    fraction of values that are exactly 0. `ill` draws in red.
    """
    if not histograms.get("name"):
        return None
    rows = sample_layers(len(histograms["name"]))
    names = short_names([histograms["name"][i] for i in rows])
    color, zero_color = (RED, RED) if ill else (BLUE, SKY)
    data: list[dict[str, Any]] = []
    layout: dict[str, Any] = {"showlegend": False, "annotations": [], "hovermode": "closest"}
    for row, (i, name) in enumerate(zip(rows, names, strict=True)):
        base = len(rows) - 1 - row
        zero = histograms["zero"][i] or 0.0
        x, y = _outline(histograms["low"][i], histograms["high"][i], histograms["counts"][i], ROW_HEIGHT * (1 - zero))
        hover = {"hoverinfo": "text", "text": f"{name}: {100 * zero:.0f} % exactly 0", "hoveron": "fills"}
        outline = line(x, [base + v for v in y], name, color, width=1.4)
        data.append(outline | {"fill": "toself", "opacity": 0.9} | hover)
        if zero > 0:
            bar = line([0, 0], [base, base + ROW_HEIGHT * zero], name, zero_color, width=4)
            data.append(bar | {"hoverinfo": "skip"})
    ticks = [len(rows) - 1 - row for row in range(len(rows))]
    layout["yaxis"] = {"tickvals": ticks, "ticktext": names, "range": [-0.1, len(rows)], "zeroline": False}
    layout["xaxis"] = axis("activation", zeroline=False)
    height = max(HEIGHT - 38, 130 + 44 * len(rows))
    return Chart(chart_id, title, {"data": data, "layout": layout}, note=note, height=height)


def _outline(low: float, high: float, counts: Sequence[int], height: float) -> tuple[list[float], list[float]]:
    """Return the outline (x, y) of a histogram whose highest bin is `height`, from its left foot to its right one."""
    largest = max(counts, default=0)
    if not largest:
        return [low, high], [0.0, 0.0]
    width = (high - low) / len(counts)
    x, y = [low], [0.0]
    for i, count in enumerate(counts):
        x += [low + i * width, low + (i + 1) * width]
        y += [height * count / largest] * 2
    return round_significant([*x, high]), round_significant([*y, 0.0])


def inactive_units(before: Signals, units: Signals) -> Chart | None:
    """Return fractions of units and values per layer that pass no gradient, before training and after the last epoch.

    `before` holds `dead` and `saturated` per layer, `units` a list of them for each epoch.
    """
    names = list(units.get("name") or before.get("name") or [])
    if not names:
        return None
    rows, has_epochs = sample_layers(len(names)), bool(units.get("dead"))
    labels = short_names([names[i] for i in rows])
    data = []
    for key, what, color_before, color_after in (
        ("dead", "dead units", SKY, BLUE),
        ("saturated", "saturated values", PURPLE, ORANGE),
    ):
        after = units[key][-1] if has_epochs else None
        for fractions, when, color in ((before.get(key), "before", color_before), (after, "after", color_after)):
            values = [fractions[i] for i in rows] if fractions and len(fractions) == len(names) else []
            if any(value is not None for value in values):
                data.append(bars(labels, values, f"{what}, {when}", color))
    if not data:
        return None
    layout: dict[str, Any] = {"barmode": "group", "yaxis": {"autorange": "reversed"}}
    layout["xaxis"] = axis("fraction of the layer", tickformat=".0%", range=[0, 1.02])
    if not any(value for trace in data for value in trace["x"]):
        layout |= {"annotations": [chart_label("none", good=True)]}
    title, height = "Dead units and saturated values, by layer", 150 + 44 * len(rows)
    return Chart("inactive-units", title, {"data": data, "layout": layout}, height=height)


def first_gradients(gradients: Signals) -> Chart | None:
    """Return the root mean square of the loss's gradient in each layer before training."""
    if len(gradients.get("name", ())) < 2:
        return None
    rows = sample_layers(len(gradients["name"]))
    names = short_names([gradients["name"][i] for i in rows])
    values = [gradients["rms"][i] or None for i in rows]
    data = [line(names, values, "of weights", BLUE) | {"mode": "lines+markers"}]
    layout: dict[str, Any] = HOVER_BY_STEP | {
        "xaxis": {"type": "category"},
        "yaxis": log_axis("root mean square", values),
    }
    if not any(values):  # a logarithmic axis has no zero
        data = [line(names, [0.0] * len(names), "of weights", RED) | {"mode": "lines+markers"}]
        layout |= {
            "yaxis": axis("root mean square", range=[0, 1]),
            "annotations": [chart_label("no gradient", good=False)],
        }
    return Chart(
        "first-gradients", "Gradient before training, by layer", {"data": data, "layout": layout}, height=HEIGHT
    )


def gradients(samples: Signals) -> Chart | None:
    """Return the L2 norm of each layer's gradient over the sampled steps."""
    return _over_time(samples, "gradient", chart_id="gradients", title="Gradient norm", unit="L2 norm")


def updates(samples: Signals) -> Chart | None:
    """Return update / weight (ratio of L2 norms) of each layer over the sampled steps, with the recommended band."""
    weights = samples.get("weights") or {}
    if not weights.get("update"):
        return None
    ratios = [
        [u / w if w and u > MIN_RATIO * w else None for u, w in zip(update, weight, strict=True)]
        for update, weight in zip(weights["update"], weights["weight"], strict=True)
    ]
    with_ratios = {**samples, "weights": {**weights, "ratio": ratios}}
    typical = reference_line(TYPICAL_RATIO, "typical: 0.001", samples["step"])
    chart = _over_time(
        with_ratios, "ratio", chart_id="updates", title="Update / weight", unit="ratio of norms", more=[typical]
    )
    if chart is not None:
        low, high = RATIO_BAND
        band = {"type": "rect", "xref": "paper", "x0": 0, "x1": 1, "y0": low, "y1": high, "layer": "below"}
        chart.figure["layout"]["shapes"] = [band | {"fillcolor": BAND, "line": {"width": 0}}]
    return chart


def _over_time(
    samples: Signals, key: str, *, chart_id: str, title: str, unit: str, more: Sequence[dict[str, Any]] = ()
) -> Chart | None:
    """Return a line for each layer, coloured by depth, on a logarithmic axis."""
    weights = samples.get("weights") or {}
    if not weights.get(key):
        return None
    rows = sample_layers(len(weights["name"]))
    names, colors = short_names([weights["name"][i] for i in rows]), depth_colors(len(rows))
    mode = "lines+markers" if len(samples["step"]) < FEW_SAMPLES else "lines"
    data = [
        line(samples["step"], [row[i] or None for row in weights[key]], name, color, width=1.8) | {"mode": mode}
        for i, name, color in zip(rows, names, colors, strict=True)
    ]
    layout = HOVER_BY_STEP | {"xaxis": axis("step"), "yaxis": log_axis(unit, chain(*weights[key]))}
    return Chart(chart_id, title, {"data": [*data, *more], "layout": layout}, height=HEIGHT)
