"""Charts as JSON inside a page: nothing in it is markup for Plotly or for an HTML parser unless it is meant so."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from pipeline.report.blocks import Chart, PlotlyMarkup, escape_plotly

TEMPLATE_KEYS = ("hovertemplate", "texttemplate")
"""Keys of a figure whose strings contain Plotly's markup. Only our own code writes them."""


def chart_to_dict(chart: Chart) -> dict[str, Any]:
    """Return what page.js draws: id, title, views, and the figure with its texts escaped."""
    return {"id": chart.id, "title": chart.title, "views": chart.views, **_escape_texts(dict(chart.figure))}


def to_script_json(value: Any) -> str:
    """Return JSON that can stand in a script element. Numbers that JSON does not have become null.

    `<` would begin a tag, and U+2028 ends a line of JavaScript; both are written as escapes.
    """
    text = json.dumps(_null_nonfinite(value), separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _escape_texts(value: Any, key: str = "") -> Any:
    """Return a figure with everything escaped that Plotly would read as markup."""
    if isinstance(value, str):
        return str(value) if isinstance(value, PlotlyMarkup) or key in TEMPLATE_KEYS else escape_plotly(value)
    if isinstance(value, Mapping):
        return {name: _escape_texts(inner, name) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_escape_texts(inner, key) for inner in value]
    return value


def _null_nonfinite(value: Any) -> Any:
    """Return `value` with None for numbers that are not finite: gaps in a line."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {name: _null_nonfinite(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_null_nonfinite(inner) for inner in value]
    return value
