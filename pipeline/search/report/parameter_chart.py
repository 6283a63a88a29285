"""The score against one parameter: every trial in the color of its round, and the rounds' ranges, gap and edges."""

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
    metric_name,
    round_color,
    round_marker,
    round_names,
    trial_link,
)
from pipeline.search.results.analysis import find_gaps, informative_trials, is_number
from pipeline.search.results.importance import widest_ranges

RANGE_STRIP_HEIGHT = 0.1
"""Fraction of the chart, at its bottom, in which the ranges of the rounds are drawn."""
JITTER = 0.25
"""Half the width over which the trials of one choice are spread."""


def parameter_charts(search: Search, best: Trial | None) -> list[Chart]:
    """Return a chart for each parameter. Ranges in log space have a log axis, and the best trial a ring."""
    return [_parameter_chart(search, p, best, f"parameter-{i}") for i, p in enumerate(widest_ranges(search).values())]


def _parameter_chart(search: Search, parameter: Parameter, best: Trial | None, chart_id: str) -> Chart:
    trials = [t for t in informative_trials(search) if parameter.key in t.params]
    scores = [t.score for t in trials if t.state == COMPLETE and is_number(t.score)]
    floor = min(scores, default=0.0) - 0.06 * (max(scores, default=1.0) - min(scores, default=0.0) or 1.0)
    data = []
    for i, name in enumerate(round_names(search)):
        complete = [t for t in trials if t.round == i and t.state == COMPLETE and is_number(t.score)]
        data.append(_points(search, parameter, complete, name=name, marker=round_marker(i)))
    broken = [t for t in trials if t.state != COMPLETE]
    if broken:
        data.append(_points(search, parameter, broken, name="broken or pruned", marker=CROSS, y=floor))
    if best is not None and parameter.key in best.params:
        data.append(_points(search, parameter, [best], name="best", marker=RING))
    layout: dict[str, Any] = {
        "xaxis": parameter_axis(parameter) | {"anchor": "free", "position": 0},
        "yaxis": {"title": {"text": metric_name(search)}, "domain": [RANGE_STRIP_HEIGHT, 1], "zeroline": False},
        "hovermode": "closest",
        "shapes": [*_range_bars(search, parameter), *_gap_bands(search, parameter)],
        "annotations": _widening_arrows(search, parameter),
    }
    good = sorted(scores, reverse=search.direction == "maximize")[: max(3, len(scores) // 2)]
    views: dict[str, dict[str, Any]] = {}
    if len(good) > 3 and min(good) < max(good):
        pad = 0.08 * (max(good) - min(good))
        views = {"all": {}, "better half": {"yaxis.range": [min(good) - pad, max(good) + pad]}}
    return Chart(chart_id, parameter.key, {"data": data, "layout": layout}, height=340, views=views)


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


def _range_bars(search: Search, parameter: Parameter) -> list[dict[str, Any]]:
    """Return a bar for each round, from one end of its range to the other."""
    if parameter.kind == "choice":
        return []
    step = min(0.03, 0.8 * RANGE_STRIP_HEIGHT / max(1, len(search.rounds)))
    bars = []
    for i, search_round in enumerate(search.rounds):
        for p in search_round.parameters:
            if p.key == parameter.key:
                y = RANGE_STRIP_HEIGHT * 0.85 - i * step
                line = {"color": round_color(i), "width": 4}
                bars.append({"type": "line", "xref": "x", "yref": "paper", "x0": p.low, "x1": p.high, "y0": y, "y1": y,
                             "line": line})  # fmt: skip
    return bars


def _gap_bands(search: Search, parameter: Parameter) -> list[dict[str, Any]]:
    """Return a band over the widest gap of the last round that has gaps."""
    gaps = find_gaps(search)
    last = max((gap.round for gap in gaps), default=0)
    return [
        {"type": "rect", "xref": "x", "yref": "y domain", "x0": gap.low, "x1": gap.high, "y0": 0, "y1": 1,
         "fillcolor": BAND, "line": {"width": 0}, "layer": "below"}
        for gap in gaps if gap.key == parameter.key and gap.round == last
    ]  # fmt: skip


def _widening_arrows(search: Search, parameter: Parameter) -> list[dict[str, Any]]:
    """Return an arrow over each end beyond which the range was widened."""
    arrows = []
    for previous, search_round in pairwise(search.rounds):
        for change in search_round.moves:
            if change.key != parameter.key or change.kind != "widened" or parameter.kind == "choice":
                continue
            old = next(p for p in previous.parameters if p.key == parameter.key)
            bound, arrow = (old.low, "◂") if change.edge == "low" else (old.high, "▸")
            arrows.append({
                "x": math.log10(bound) if parameter.log else bound, "xref": "x", "y": 1, "yref": "paper", "text": arrow,
                "yanchor": "bottom", "showarrow": False, "font": {"size": 15, "color": INK},
            })  # fmt: skip
    return arrows


def parameter_axis(parameter: Parameter, *, pad: float = 0.03) -> dict[str, Any]:
    """Return the axis of a parameter; choices have their index. `pad`: fraction of the range added on both sides."""
    if parameter.kind == "choice":
        indices = list(range(len(parameter.choices)))
        labels = [str(choice) for choice in parameter.choices]
        return {"tickvals": indices, "ticktext": labels, "range": [-0.6, len(indices) - 0.4], "zeroline": False}
    if parameter.low >= parameter.high:
        return {"zeroline": False}
    ends = [parameter.from_unit(-pad), parameter.from_unit(1 + pad)]
    if not parameter.log:
        return {"range": ends, "zeroline": False}
    low, high = (math.log10(end) for end in ends)
    ticks = {"dtick": 1} if high - low > 1.2 else {}
    return {"type": "log", "range": [low, high], "exponentformat": "power", "tickfont": {"size": 10}, **ticks}


def x_value(parameter: Parameter, trial: Trial) -> Any:
    """Return the trial's value on that axis. Trials of one choice are spread beside each other by the golden ratio."""
    value = trial.params[parameter.key]
    if parameter.kind != "choice":
        return value
    offset = (trial.number * 0.618034) % 1 * 2 - 1
    return parameter.choices.index(value) + JITTER * offset
