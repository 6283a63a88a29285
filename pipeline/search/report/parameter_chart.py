"""The score against one parameter: every trial, each round in its colour, with its range, its gap and its edges."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from pipeline.report.blocks import BAND, INK, Chart
from pipeline.search.records import COMPLETE, Parameter, Search, Trial
from pipeline.search.report.style import (
    CROSS,
    HOVER,
    RING,
    hover_text,
    marker,
    metric_name,
    round_color,
    round_names,
    trial_link,
)
from pipeline.search.results.analysis import explored, gaps, is_number
from pipeline.search.results.importance import widest

RANGE_STRIP_HEIGHT = 0.1
"""Share of the chart, at its foot, in which the rounds' ranges lie."""
JITTER = 0.25
"""Half the width over which trials of one choice are spread."""


def parameter_charts(search: Search, best: Trial | None) -> list[Chart]:
    """The score against each parameter that was searched, ranges in log space on a log axis; a ring around the best."""
    return [_parameter_chart(search, p, best, f"parameter-{i}") for i, p in enumerate(widest(search).values())]


def _parameter_chart(search: Search, parameter: Parameter, best: Trial | None, id: str) -> Chart:
    trials = [t for t in explored(search) if parameter.key in t.params]
    scores = [t.score for t in trials if t.state == COMPLETE and is_number(t.score)]
    floor = min(scores, default=0.0) - 0.06 * (max(scores, default=1.0) - min(scores, default=0.0) or 1.0)
    data = []
    for i, name in enumerate(round_names(search)):
        own = [t for t in trials if t.round == i]
        told = [t for t in own if t.state == COMPLETE and is_number(t.score)]
        data.append(_points(search, parameter, told, name=name, marker=marker(i)))
    broken = [t for t in trials if t.state != COMPLETE]
    if broken:
        data.append(_points(search, parameter, broken, name="broken or pruned", marker=CROSS, y=floor))
    if best is not None and parameter.key in best.params:
        data.append(_points(search, parameter, [best], name="best", marker=RING))
    layout: dict[str, Any] = {
        "xaxis": parameter_axis(parameter) | {"anchor": "free", "position": 0},
        "yaxis": {"title": {"text": metric_name(search)}, "domain": [RANGE_STRIP_HEIGHT, 1], "zeroline": False},
        "hovermode": "closest",
        "shapes": [*_ranges(search, parameter), *_holes(search, parameter)],
        "annotations": _edges(search, parameter),
    }
    good = sorted(scores, reverse=search.direction == "maximize")[: max(3, len(scores) // 2)]
    views: dict[str, dict[str, Any]] = {}
    if len(good) > 3 and min(good) < max(good):
        pad = 0.08 * (max(good) - min(good))
        views = {"all": {}, "better half": {"yaxis.range": [min(good) - pad, max(good) + pad]}}
    return Chart(id, parameter.key, {"data": data, "layout": layout}, height=340, views=views)


def _points(
    search: Search,
    parameter: Parameter,
    trials: Sequence[Trial],
    *,
    name: str,
    marker: Mapping[str, Any],
    y: Any = None,
) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "x": [x_value(parameter, t) for t in trials],
        "y": [t.score if y is None else y for t in trials],
        "marker": dict(marker),
        "text": [hover_text(search, t) for t in trials],
        "customdata": [trial_link(t) for t in trials],
        "hovertemplate": HOVER,
    }


def _ranges(search: Search, parameter: Parameter) -> list[dict[str, Any]]:
    """A bar for each round, from one end of its range to the other."""
    if parameter.kind == "choice":
        return []
    step = min(0.03, 0.8 * RANGE_STRIP_HEIGHT / max(1, len(search.rounds)))
    bars = []
    for i, about in enumerate(search.rounds):
        for p in about.parameters:
            if p.key == parameter.key:
                y = RANGE_STRIP_HEIGHT * 0.85 - i * step
                line = {"color": round_color(i), "width": 4}
                bars.append({"type": "line", "xref": "x", "yref": "paper", "x0": p.low, "x1": p.high, "y0": y, "y1": y,
                             "line": line})  # fmt: skip
    return bars


def _holes(search: Search, parameter: Parameter) -> list[dict[str, Any]]:
    """The largest unexplored gap of the last round."""
    last = max((gap.round for gap in gaps(search)), default=0)
    return [
        {"type": "rect", "xref": "x", "yref": "y domain", "x0": gap.low, "x1": gap.high, "y0": 0, "y1": 1,
         "fillcolor": BAND, "line": {"width": 0}, "layer": "below"}
        for gap in gaps(search) if gap.key == parameter.key and gap.round == last
    ]  # fmt: skip


def _edges(search: Search, parameter: Parameter) -> list[dict[str, Any]]:
    """Where good trials lay at the end of a range and it was widened beyond: an arrow over that end."""
    marks = []
    for before, about in pairwise(search.rounds):
        for move in about.moves:
            if move.key != parameter.key or move.kind != "widened" or parameter.kind == "choice":
                continue
            old = next(p for p in before.parameters if p.key == parameter.key)
            bound, arrow = (old.low, "◂") if move.edge == "low" else (old.high, "▸")
            marks.append({
                "x": math.log10(bound) if parameter.log else bound, "xref": "x", "y": 1, "yref": "paper", "text": arrow,
                "yanchor": "bottom", "showarrow": False, "font": {"size": 15, "color": INK},
            })  # fmt: skip
    return marks


def parameter_axis(parameter: Parameter, *, pad: float = 0.03) -> dict[str, Any]:
    """Of its values, which are places for choices; `pad`: share of the range that is added on both sides."""
    if parameter.kind == "choice":
        places = list(range(len(parameter.choices)))
        words = [str(choice) for choice in parameter.choices]
        return {"tickvals": places, "ticktext": words, "range": [-0.6, len(places) - 0.4], "zeroline": False}
    if parameter.low >= parameter.high:
        return {"zeroline": False}
    ends = [parameter.from_unit(-pad), parameter.from_unit(1 + pad)]
    if not parameter.log:
        return {"range": ends, "zeroline": False}
    low, high = (math.log10(end) for end in ends)
    ticks = {"dtick": 1} if high - low > 1.2 else {}
    return {"type": "log", "range": [low, high], "exponentformat": "power", "tickfont": {"size": 10}, **ticks}


def x_value(parameter: Parameter, trial: Trial) -> Any:
    """Its value on that axis. Trials of one choice are spread beside each other, by the golden ratio."""
    value = trial.params[parameter.key]
    if parameter.kind != "choice":
        return value
    spread = (trial.number * 0.618034) % 1 * 2 - 1
    return parameter.choices.index(value) + JITTER * spread
