"""What charts have in common: axes, lines, marks, and fewer points where there are more than a screen shows."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from pipeline.report.blocks import GREEN, INK, MUTED, RED

MOST = 1500
"""Points of a line: more cannot be told apart, and only make the page heavy."""
BY_STEP = {"hovermode": "x unified"}


LOG = {"type": "log", "tickformat": "~g", "nticks": 6}


def axis(title: str, **more: Any) -> dict[str, Any]:
    return {"title": {"text": title}, **more}


def log_axis(title: str, values: Iterable[Any]) -> dict[str, Any]:
    """Over few decades 1, 2 and 5 of each are written, over many some decades."""
    known = [value for value in values if isinstance(value, (int, float)) and 0 < value < math.inf]
    few = known and max(known) < 200 * min(known)
    return axis(title, **LOG, **({"dtick": "D2"} if few else {}))


def line(x: Sequence[Any], y: Sequence[Any], name: str, color: str, **more: Any) -> dict[str, Any]:
    style = {"color": color, "width": more.pop("width", 2.2), "dash": more.pop("dash", "solid")}
    return {"type": "scatter", "mode": "lines", "x": x, "y": round_significant(y), "name": name, "line": style, **more}


def reference_line(
    y: float, text: str, x: Sequence[float], *, color: str = MUTED, left: bool = False
) -> dict[str, Any]:
    """A dotted line from the first `x` to the last with a word on one end: right on linear and on logarithmic axes."""
    place = {"type": "scatter", "x": [x[0], x[-1]], "y": [y, y], "name": text, "showlegend": False, "hoverinfo": "skip"}
    style = {"line": {"color": color, "width": 1.3, "dash": "dot"}, "textfont": {"color": color, "size": 11}}
    words = {"text": [text, ""] if left else ["", text], "textposition": "top right" if left else "top left"}
    return place | style | words | {"mode": "lines+text"}


def verdict(text: str, *, good: bool, y: float = 0.85) -> dict[str, Any]:
    """The word for the whole chart, at its right side."""
    color = GREEN if good else RED
    place = {"xref": "paper", "yref": "paper", "x": 0.985, "y": y, "xanchor": "right", "yanchor": "top"}
    style = {"showarrow": False, "font": {"color": color, "size": 15}, "bordercolor": color, "borderpad": 4}
    return {**place, **style, "text": text, "bgcolor": "var(--paper)"}


def highlight_points(x: Sequence[float], y: Sequence[float], name: str, color: str) -> dict[str, Any]:
    """Rings around what a verdict rests on."""
    ring = {"symbol": "circle-open", "size": 15, "color": color, "line": {"width": 2.5, "color": color}}
    return {"type": "scatter", "mode": "markers", "x": x, "y": round_significant(y), "name": name, "marker": ring}


def downsample(values: Sequence[float], *, most: int = MOST) -> tuple[list[float], list[float]]:
    """(places from 1, values): means over equal numbers of neighbours, so that at most `most` are left."""
    stride = -(-len(values) // most) or 1
    parts = [values[i : i + stride] for i in range(0, len(values), stride)]
    return [i * stride + (len(part) + 1) / 2 for i, part in enumerate(parts)], [sum(p) / len(p) for p in parts]


def round_significant(values: Sequence[Any]) -> list[Any]:
    """Five significant digits: what a screen shows, in a third of the bytes."""
    return [float(f"{v:.5g}") if isinstance(v, float) and math.isfinite(v) else v for v in values]


def short_names(names: Sequence[str]) -> list[str]:
    """Dotted names without the parts that most of them share: `hidden.conv1.activation` is `conv1`."""
    split = [name.split(".") for name in names]
    counts = Counter(part for parts in split for part in set(parts))
    shared = {part for part, count in counts.items() if count > max(1, len(names) // 2)}
    short = [".".join(part for part in parts if part not in shared) for parts in split]
    return short if all(short) and len(set(short)) == len(short) else list(names)


def depth_colors(count: int) -> list[str]:
    """Colours from the first layer to the last, of a scale that grows in lightness (viridis, its middle part)."""
    stops = [(62, 73, 137), (49, 104, 142), (38, 130, 142), (53, 183, 121), (142, 200, 60), (222, 190, 20)]
    places = [i * (len(stops) - 1) / max(1, count - 1) for i in range(count)]
    pairs = [(stops[int(p)], stops[min(int(p) + 1, len(stops) - 1)], p % 1) for p in places]
    mixed = [[round(a + (b - a) * share) for a, b in zip(low, high, strict=True)] for low, high, share in pairs]
    return [f"rgb({r},{g},{b})" for r, g, b in mixed]


def bars(names: Sequence[str], values: Sequence[Any], name: str, color: str, **more: Any) -> dict[str, Any]:
    """Horizontal, the first on top where the axis is reversed."""
    return {"type": "bar", "orientation": "h", "y": names, "x": round_significant(values), "name": name,
            "marker": {"color": color}, "textfont": {"color": INK}, **more}  # fmt: skip
