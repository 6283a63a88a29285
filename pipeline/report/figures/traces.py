"""What charts have in common: axes, lines, labels, and fewer points where there are more than a screen can show."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from pipeline.report.blocks import GREEN, INK, MUTED, RED

MAX_POINTS = 1500
"""Points of a line; more cannot be told apart and make the page heavy."""
HOVER_BY_STEP = {"hovermode": "x unified"}
LOG = {"type": "log", "tickformat": "~g", "nticks": 6}
_LINEAR_VIEW, _LOG_VIEW = {"yaxis.type": "linear"}, {f"yaxis.{key}": value for key, value in LOG.items()}
LINEAR_FIRST: dict[str, dict[str, Any]] = {"linear": _LINEAR_VIEW, "log": _LOG_VIEW}
LOG_FIRST: dict[str, dict[str, Any]] = {"log": _LOG_VIEW, "linear": _LINEAR_VIEW}
"""Views of a chart whose y axis can be linear or logarithmic, the first one drawn."""


def axis(title: str, **options: Any) -> dict[str, Any]:
    """Return an axis with a title and Plotly's options."""
    return {"title": {"text": title}, **options}


def log_axis(title: str, values: Iterable[Any]) -> dict[str, Any]:
    """Return a logarithmic axis. Its ticks are 1, 2 and 5 of each decade if `values` span few, else some decades."""
    positive = [value for value in values if isinstance(value, (int, float)) and 0 < value < math.inf]
    spans_few_decades = positive and max(positive) < 200 * min(positive)
    return axis(title, **LOG, **({"dtick": "D2"} if spans_few_decades else {}))


def line(x: Sequence[Any], y: Sequence[Any], name: str, color: str, **options: Any) -> dict[str, Any]:
    """Return a line; `width` and `dash` style it, all other options are Plotly's."""
    style = {"color": color, "width": options.pop("width", 2.2), "dash": options.pop("dash", "solid")}
    return {
        "type": "scatter", "mode": "lines", "x": x, "y": round_significant(y), "name": name, "line": style, **options
    }  # fmt: skip


def reference_line(
    y: float, text: str, x: Sequence[float], *, color: str = MUTED, left: bool = False
) -> dict[str, Any]:
    """Return a dotted horizontal line from the first `x` to the last, labelled at its right or left end.

    It is a trace and no shape, so that it is right on linear and on logarithmic axes.
    """
    ends = {"type": "scatter", "x": [x[0], x[-1]], "y": [y, y], "name": text, "showlegend": False, "hoverinfo": "skip"}
    style = {"line": {"color": color, "width": 1.3, "dash": "dot"}, "textfont": {"color": color, "size": 11}}
    label = {"text": [text, ""] if left else ["", text], "textposition": "top right" if left else "top left"}
    return ends | style | label | {"mode": "lines+text"}


def chart_label(text: str, *, good: bool, y: float = 0.85) -> dict[str, Any]:
    """Return an annotation that judges the whole chart, at its right side."""
    color = GREEN if good else RED
    position = {"xref": "paper", "yref": "paper", "x": 0.985, "y": y, "xanchor": "right", "yanchor": "top"}
    style = {"showarrow": False, "font": {"color": color, "size": 15}, "bordercolor": color, "borderpad": 4}
    return {**position, **style, "text": text, "bgcolor": "var(--paper)"}


def highlight_points(x: Sequence[float], y: Sequence[float], name: str, color: str) -> dict[str, Any]:
    """Return rings around points, such as the evidence of a finding."""
    ring = {"symbol": "circle-open", "size": 15, "color": color, "line": {"width": 2.5, "color": color}}
    return {"type": "scatter", "mode": "markers", "x": x, "y": round_significant(y), "name": name, "marker": ring}


def downsample(values: Sequence[float], *, most: int = MAX_POINTS) -> tuple[list[float], list[float]]:
    """Return (positions, means) of groups of neighbours of equal size, at most `most` of them.

    A position is the mean index of its group, counted from 1.
    """
    stride = -(-len(values) // most) or 1
    groups = [values[i : i + stride] for i in range(0, len(values), stride)]
    positions = [i * stride + (len(group) + 1) / 2 for i, group in enumerate(groups)]
    return positions, [sum(group) / len(group) for group in groups]


def round_significant(values: Sequence[Any]) -> list[Any]:
    """Return numbers with five significant digits, which is what a screen shows, in a third of the bytes."""
    return [float(f"{v:.5g}") if isinstance(v, float) and math.isfinite(v) else v for v in values]


def short_names(names: Sequence[str]) -> list[str]:
    """Return dotted names without the parts that most of them share: `hidden.conv1.activation` becomes `conv1`."""
    split_names = [name.split(".") for name in names]
    counts = Counter(part for parts in split_names for part in set(parts))
    shared = {part for part, count in counts.items() if count > max(1, len(names) // 2)}
    short = [".".join(part for part in parts if part not in shared) for parts in split_names]
    return short if all(short) and len(set(short)) == len(short) else list(names)


def depth_colors(count: int) -> list[str]:
    """Return colours from the first layer to the last, of a scale that grows in lightness (viridis, middle part)."""
    stops = [(62, 73, 137), (49, 104, 142), (38, 130, 142), (53, 183, 121), (142, 200, 60), (222, 190, 20)]
    positions = [i * (len(stops) - 1) / max(1, count - 1) for i in range(count)]
    neighbours = [(stops[int(p)], stops[min(int(p) + 1, len(stops) - 1)], p % 1) for p in positions]
    mixed = [[round(a + (b - a) * weight) for a, b in zip(low, high, strict=True)] for low, high, weight in neighbours]
    return [f"rgb({r},{g},{b})" for r, g, b in mixed]


def bars(names: Sequence[str], values: Sequence[Any], name: str, color: str, **options: Any) -> dict[str, Any]:
    """Return horizontal bars, the first at the bottom unless the axis is reversed."""
    return {"type": "bar", "orientation": "h", "y": names, "x": round_significant(values), "name": name,
            "marker": {"color": color}, "textfont": {"color": INK}, **options}  # fmt: skip
