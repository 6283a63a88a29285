"""Layer by layer: how activations are spread, which units are off, how gradients and updates are sized."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

from pipeline.report.blocks import BLUE, ORANGE, PURPLE, RED, SKY, Chart
from pipeline.report.figures.traces import (
    BY_STEP,
    axis,
    bars,
    depth_colors,
    line,
    log_axis,
    reference_line,
    round_significant,
    short_names,
    verdict,
)

Signals = Mapping[str, Any]

LAYERS = 12
"""Most layers in a chart, evenly chosen."""
RATIO = 1e-3
"""Update / weight that the notes want (CS231n, "Ratio of weights:updates"), and the band around it, half a decade."""
BAND = (3e-4, 3e-3)
LEAST = 1e-7
"""Ratios below are left out: at the end of a schedule the rate, and all updates with it, go to zero."""
HEIGHT = 340
ROW = 0.86
"""Height of the highest hill in a row of one."""


def sample_layers(count: int) -> list[int]:
    """At most `LAYERS` places, the first and the last among them."""
    if count <= LAYERS:
        return list(range(count))
    return [round(i * (count - 1) / (LAYERS - 1)) for i in range(LAYERS)]


def activation_ridgeline(histograms: Signals, *, id: str, title: str, ill: bool, note: str = "") -> Chart | None:
    """One row per layer, the first on top, all on one axis: what collapses is a needle, what saturates stands at the
    walls. A bar at zero is as high as the share of values that are exactly 0."""
    if not histograms.get("name"):
        return None
    rows = sample_layers(len(histograms["name"]))
    names = short_names([histograms["name"][i] for i in rows])
    color, needle = (RED, RED) if ill else (BLUE, SKY)
    data: list[dict[str, Any]] = []
    layout: dict[str, Any] = {"showlegend": False, "annotations": [], "hovermode": "closest"}
    for place, i in enumerate(rows):
        base = len(rows) - 1 - place
        zero = histograms["zero"][i] or 0.0
        x, y = _outline(histograms["low"][i], histograms["high"][i], histograms["counts"][i], ROW * (1 - zero))
        told = f"{names[place]}: {100 * zero:.0f} % exactly 0"
        shown = {"hoverinfo": "text", "text": told, "hoveron": "fills"}
        hill = line(x, [base + v for v in y], names[place], color, width=1.4)
        data.append(hill | {"fill": "toself", "opacity": 0.9} | shown)
        if zero > 0:
            data.append(line([0, 0], [base, base + ROW * zero], names[place], needle, width=4) | {"hoverinfo": "skip"})
    ticks = [len(rows) - 1 - place for place in range(len(rows))]
    layout["yaxis"] = {"tickvals": ticks, "ticktext": names, "range": [-0.1, len(rows)], "zeroline": False}
    layout["xaxis"] = axis("activation", zeroline=False)
    height = max(HEIGHT - 38, 130 + 44 * len(rows))
    return Chart(id, title, {"data": data, "layout": layout}, note=note, height=height)


def _outline(low: float, high: float, counts: Sequence[int], height: float) -> tuple[list[float], list[float]]:
    """The histogram's outline from its foot back to its foot."""
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
    """Shares of units and values per layer that pass no gradient: before training and after the last epoch."""
    names = list(units.get("name") or before.get("name") or [])
    if not names:
        return None
    rows, last = sample_layers(len(names)), bool(units.get("dead"))
    labels = short_names([names[i] for i in rows])
    data = []
    for key, word, light, dark in (
        ("dead", "dead units", SKY, BLUE),
        ("saturated", "saturated values", PURPLE, ORANGE),
    ):
        for source, when, color in (
            (before.get(key), "before", light),
            (units[key][-1] if last else None, "after", dark),
        ):
            values = [source[i] for i in rows] if source and len(source) == len(names) else []
            if any(value is not None for value in values):
                data.append(bars(labels, values, f"{word}, {when}", color))
    if not data:
        return None
    layout: dict[str, Any] = {"barmode": "group", "yaxis": {"autorange": "reversed"}}
    layout["xaxis"] = axis("share of the layer", tickformat=".0%", range=[0, 1.02])
    if not any(value for trace in data for value in trace["x"]):
        layout |= {"annotations": [verdict("none", good=True)]}
    return Chart("off", "Dead and saturated, per layer", {"data": data, "layout": layout}, height=150 + 44 * len(rows))


def first_gradients(gradients: Signals) -> Chart | None:
    """How much of the loss's gradient reaches each layer before training."""
    if len(gradients.get("name", ())) < 2:
        return None
    rows = sample_layers(len(gradients["name"]))
    names = short_names([gradients["name"][i] for i in rows])
    columns = [("rms", "of weights", BLUE), ("signal_rms", "of outputs", ORANGE)]
    values = {name: [gradients[key][i] or None for i in rows] for key, name, _ in columns if gradients.get(key)}
    colors = {name: color for _, name, color in columns}
    data = [line(names, y, name, colors[name]) | {"mode": "lines+markers"} for name, y in values.items()]
    layout: dict[str, Any] = BY_STEP | {
        "xaxis": {"type": "category"},
        "yaxis": log_axis("root mean square", chain(*values.values())),
    }
    if not any(value for y in values.values() for value in y):  # zero has no place on a logarithmic axis
        data = [line(names, [0.0] * len(names), "of weights", RED) | {"mode": "lines+markers"}]
        layout |= {"yaxis": axis("root mean square", range=[0, 1]), "annotations": [verdict("no gradient", good=False)]}
    return Chart("first-gradients", "First gradient, layer by layer", {"data": data, "layout": layout}, height=HEIGHT)


def gradients(samples: Signals) -> Chart | None:
    return _over_time(samples, "gradient", id="gradients", title="Gradient norm", unit="L2 norm")


def updates(samples: Signals) -> Chart | None:
    """Update / weight of each layer, with the band around 1e-3."""
    weights = samples.get("weights") or {}
    if not weights.get("update"):
        return None
    ratios = [
        [u / w if w and u > LEAST * w else None for u, w in zip(update, weight, strict=True)]
        for update, weight in zip(weights["update"], weights["weight"], strict=True)
    ]
    several = {**samples, "weights": {**weights, "ratio": ratios}}
    right = reference_line(RATIO, "about 0.001 is right", samples["step"])
    chart = _over_time(several, "ratio", id="updates", title="Update / weight", unit="ratio of norms", more=[right])
    if chart is not None:
        band = {"type": "rect", "xref": "paper", "x0": 0, "x1": 1, "y0": BAND[0], "y1": BAND[1], "layer": "below"}
        chart.figure["layout"]["shapes"] = [band | {"fillcolor": "var(--band)", "line": {"width": 0}}]
    return chart


def _over_time(
    samples: Signals, key: str, *, id: str, title: str, unit: str, more: Sequence[dict[str, Any]] = ()
) -> Chart | None:
    weights = samples.get("weights") or {}
    if not weights.get(key):
        return None
    rows = sample_layers(len(weights["name"]))
    names, colors = short_names([weights["name"][i] for i in rows]), depth_colors(len(rows))
    mode = "lines+markers" if len(samples["step"]) < 8 else "lines"
    data = [
        line(samples["step"], [row[i] or None for row in weights[key]], name, color, width=1.8) | {"mode": mode}
        for i, name, color in zip(rows, names, colors, strict=True)
    ]
    layout = BY_STEP | {"xaxis": axis("step"), "yaxis": log_axis(unit, chain(*weights[key]))}
    return Chart(id, title, {"data": [*data, *more], "layout": layout}, height=HEIGHT)
