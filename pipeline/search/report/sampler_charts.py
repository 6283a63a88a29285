"""Charts that compare the samplers of a search's first round."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pipeline.report.blocks import INK, Chart
from pipeline.search.records import Parameter, Search, Trial
from pipeline.search.report.parameter_chart import parameter_axis, x_value
from pipeline.search.report.style import HOVER, hover_text, metric_name, round_color, trial_link
from pipeline.search.results.analysis import SamplerStats, informative_trials, is_number

RUG_HEIGHT = 0.08
"""Fraction of an axis, below its low end, in which distinct values are marked."""


def samplers_chart(search: Search, stats: Sequence[SamplerStats]) -> Chart | None:
    """Return where each sampler tried the first two ranges, or None if there is one sampler, or no range."""
    ranges = [p for p in search.rounds[0].parameters if p.kind != "choice"]
    if len(stats) < 2 or not ranges:
        return None
    x, y = ranges[0], ranges[1] if len(ranges) > 1 else None
    n = len(stats)
    data: list[dict[str, Any]] = []
    layout: dict[str, Any] = {"showlegend": False, "hovermode": "closest", "annotations": []}
    trials = informative_trials(search, round_index=0)
    scores = [t.score for t in trials if is_number(t.score)]
    y_axis = parameter_axis(y, pad=RUG_HEIGHT) if y else {}
    y_axis = y_axis | {"title": {"text": y.key if y else metric_name(search)}}
    for i, sampler in enumerate(stats):
        drawn = [t for t in trials if t.sampler == sampler.sampler and all(p.key in t.params for p in (x, y) if p)]
        suffix = "" if i == 0 else str(i + 1)
        data += _scatter(search, drawn, x, y, suffix, scores)
        layout[f"xaxis{suffix}"] = parameter_axis(x, pad=RUG_HEIGHT) | {
            "domain": [i / n + 0.02, (i + 1) / n - 0.05],
            "title": {"text": x.key},
        }
        layout[f"yaxis{suffix}"] = y_axis | {"anchor": f"x{suffix}"} | ({"matches": "y"} if suffix else {})
        best = "" if sampler.best is None else f", best {sampler.best:.4f}"
        title = f"{sampler.sampler}: {sampler.distinct[x.key]} values of {x.key} in {sampler.trials} trials{best}"
        layout["annotations"].append({"text": title, "xref": "paper", "yref": "paper", "x": i / n + 0.02, "y": 1.02,
                                      "xanchor": "left", "yanchor": "bottom", "showarrow": False})  # fmt: skip
    note = "Each sampler has the same number of trials. The ticks along the sides are the distinct values."
    return Chart(
        "samplers", "Trials of each sampler", {"data": data, "layout": layout}, note=note, height=400, wide=True
    )


def _scatter(
    search: Search, trials: Sequence[Trial], x: Parameter, y: Parameter | None, suffix: str, scores: Sequence[float]
) -> list[dict[str, Any]]:
    """Return the points of one sampler, and the ticks along both sides."""
    x_values = [x_value(x, t) for t in trials]
    y_values = [x_value(y, t) if y else t.score for t in trials]
    common = {"type": "scatter", "mode": "markers", "xaxis": f"x{suffix}", "yaxis": f"y{suffix}"}
    marker = {
        "size": 12, "color": [t.score if is_number(t.score) else None for t in trials], "colorscale": "Viridis",
        "cmin": min(scores, default=0), "cmax": max(scores, default=1), "line": {"width": 1, "color": INK},
        "reversescale": search.direction == "minimize", "showscale": not suffix,
        "colorbar": {"title": {"text": metric_name(search)}, "thickness": 12},
    }  # fmt: skip
    low_x, low_y = (p.from_unit(-0.8 * RUG_HEIGHT) if p else min(scores, default=0) for p in (x, y))
    return [
        common | {"x": x_values, "y": y_values, "marker": marker, "text": [hover_text(search, t) for t in trials],
                  "customdata": [trial_link(t) for t in trials], "hovertemplate": HOVER},
        common | {"x": x_values, "y": [low_y] * len(trials), "hoverinfo": "skip",
                  "marker": {"symbol": "line-ns", "size": 14, "line": {"width": 1.5, "color": INK}}},
        common | {"x": [low_x] * len(trials), "y": y_values, "hoverinfo": "skip",
                  "marker": {"symbol": "line-ew", "size": 14, "line": {"width": 1.5, "color": INK}}},
    ]  # fmt: skip


def progress_chart(search: Search, stats: Sequence[SamplerStats]) -> Chart:
    """Return the best score of each sampler so far, over its trials."""
    data = [
        {"type": "scatter", "mode": "lines", "name": sampler.sampler,
         "line": {"shape": "hv", "width": 2.5, "color": round_color(i)},
         "x": list(range(sampler.trials - len(sampler.best_so_far) + 1, sampler.trials + 1)),
         "y": list(sampler.best_so_far), "hovertemplate": "after %{x} trials: %{y:.4f}"}
        for i, sampler in enumerate(stats)
    ]  # fmt: skip
    layout = {"xaxis": {"title": {"text": "trials"}}, "yaxis": {"title": {"text": f"best {metric_name(search)}"}}}
    return Chart("progress", "Best score so far", {"data": data, "layout": layout}, height=300, wide=True)
