"""The other pictures of a search: what matters, how trials learned, which sampler saw more, and what seeds say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.report.blocks import COLOURS, INK, MUTED, Chart
from pipeline.search.records import Parameter, Search, Trial
from pipeline.search.report.parameter_chart import parameter_axis, x_value
from pipeline.search.report.style import CROSS, HOVER, hover_text, metric_name, round_color, round_names, trial_link
from pipeline.search.results.analysis import SamplerStats, explored, is_number
from pipeline.search.results.compare_best import SeedComparison
from pipeline.search.results.importance import Importance

RUG_HEIGHT = 0.08
"""Share of an axis, before its low end, in which distinct values are marked."""


def importance_chart(found: Sequence[Importance]) -> Chart:
    """How much of what separates good trials from all belongs to each parameter, and how much would by chance."""
    rows = list(reversed(found))
    keys = [i.key for i in rows]
    bars = {
        "type": "bar",
        "orientation": "h",
        "showlegend": False,
        "y": keys,
        "x": [i.share for i in rows],
        "marker": {"color": [COLOURS[0] if i.beyond_chance else MUTED for i in rows]},
        "hovertemplate": "%{y}: %{x:.0%}<extra></extra>",
        "width": 0.55,
    }
    chance = {
        "type": "scatter",
        "mode": "markers",
        "name": "what chance gives (19 of 20 times less)",
        "y": keys,
        "x": [i.chance for i in rows],
        "marker": {"symbol": "line-ns", "size": 26, "line": {"width": 2.5, "color": INK}},
        "hovertemplate": "%{y}: by chance up to %{x:.0%}<extra></extra>",
    }
    layout = {
        "xaxis": {"tickformat": ".0%", "rangemode": "tozero"},
        "yaxis": {"type": "category"},
        "bargap": 0.4,
    }
    note = (
        "PED-ANOVA: how differently the best quarter of the trials and all of them are spread over a parameter. A grey "
        "bar does not reach beyond what a parameter without effect may get from so few trials."
    )
    return Chart("importance-bars", "Which parameters matter", {"data": [bars, chance], "layout": layout}, note=note,
                 height=110 + 38 * len(rows))  # fmt: skip


def curves_chart(search: Search, best: Trial | None) -> Chart:
    """The score after each epoch, of every trial."""
    data: list[dict[str, Any]] = []
    for i, name in enumerate(round_names(search)):
        own = [t for t in search.trials if t.round == i and t.scores]
        data.append(_curves(search, own, name=name, line={"color": round_color(i), "width": 1.2}, opacity=0.45))
    if best is not None:
        data.append(_curves(search, [best], name=f"best: trial {best.number}", line={"color": INK, "width": 3}))
    ends = [t for t in search.trials if t.scores and t.state in ("broken", "pruned")]
    if ends:
        data.append({
            "type": "scatter", "mode": "markers", "name": "broken or pruned", "marker": CROSS, "hovertemplate": HOVER,
            "x": [len(t.scores) for t in ends], "y": [t.scores[-1] for t in ends],
            "text": [hover_text(search, t) for t in ends], "customdata": [trial_link(t) for t in ends],
        })  # fmt: skip
    longest = max((len(t.scores) for t in search.trials), default=1)
    ticks = {"dtick": 1} if longest <= 12 else {}
    layout = {
        "xaxis": {"title": {"text": "epoch"}, **ticks},
        "yaxis": {"title": {"text": metric_name(search)}},
        "hovermode": "closest",
    }
    return Chart("curves", "Learning curves of all trials", {"data": data, "layout": layout}, height=380, wide=True)


def _curves(
    search: Search, trials: Sequence[Trial], *, name: str, line: Mapping[str, Any], opacity: float = 1.0
) -> dict[str, Any]:
    """All curves as one line with gaps: one trace for each round draws a thousand trials at once."""
    x: list[float | None] = []
    y: list[float | None] = []
    text: list[str] = []
    links: list[str] = []
    for trial in trials:
        x += [*range(1, len(trial.scores) + 1), None]
        y += [*trial.scores, None]
        text += [hover_text(search, trial)] * (len(trial.scores) + 1)
        links += [trial_link(trial)] * (len(trial.scores) + 1)
    mode = "lines" if any(len(t.scores) > 1 for t in trials) else "markers"
    return {
        "type": "scatter", "mode": mode, "name": name, "x": x, "y": y, "text": text, "customdata": links,
        "line": dict(line), "marker": {"color": line["color"]}, "opacity": opacity, "hovertemplate": HOVER,
    }  # fmt: skip


def samplers_chart(search: Search, found: Sequence[SamplerStats]) -> Chart | None:
    """Where each sampler tried the two most telling parameters; the ticks along the sides are the distinct values."""
    first = [p for p in search.rounds[0].parameters if p.kind != "choice"]
    if len(found) < 2 or not first:
        return None
    x, y = first[0], first[1] if len(first) > 1 else None
    n = len(found)
    data: list[dict[str, Any]] = []
    layout: dict[str, Any] = {"showlegend": False, "hovermode": "closest", "annotations": []}
    scores = [t.score for t in explored(search, round=0) if is_number(t.score)]
    for i, sampled in enumerate(found):
        own = [t for t in explored(search, round=0) if t.sampler == sampled.sampler]
        own = [t for t in own if all(p.key in t.params for p in (x, y) if p)]
        tail = "" if i == 0 else str(i + 1)
        data += _spread(search, own, x, y, tail, scores)
        layout[f"xaxis{tail}"] = parameter_axis(x, pad=RUG_HEIGHT) | {
            "domain": [i / n + 0.02, (i + 1) / n - 0.05],
            "title": {"text": x.key},
        }
        side = (
            parameter_axis(y, pad=RUG_HEIGHT) | {"title": {"text": y.key}}
            if y
            else {"title": {"text": metric_name(search)}}
        )
        layout[f"yaxis{tail}"] = side | {"anchor": f"x{tail}"} | ({"matches": "y"} if tail else {})
        best = "" if sampled.best is None else f", best {sampled.best:.4f}"
        told = f"{sampled.sampler}: {sampled.distinct[x.key]} values of {x.key} in {sampled.trials} trials{best}"
        layout["annotations"].append({"text": told, "xref": "paper", "yref": "paper", "x": i / n + 0.02, "y": 1.02,
                                      "xanchor": "left", "yanchor": "bottom", "showarrow": False})  # fmt: skip
    note = "The same number of trials each; the ticks along the sides are the distinct values that were tried."
    return Chart(
        "samplers", "What each sampler saw", {"data": data, "layout": layout}, note=note, height=400, wide=True
    )


def _spread(
    search: Search, own: Sequence[Trial], x: Parameter, y: Parameter | None, tail: str, scores: Sequence[float]
) -> list[dict[str, Any]]:
    across = [x_value(x, t) for t in own]
    up = [x_value(y, t) if y else t.score for t in own]
    common = {"type": "scatter", "mode": "markers", "xaxis": f"x{tail}", "yaxis": f"y{tail}"}
    marker = {
        "size": 12, "color": [t.score if is_number(t.score) else None for t in own], "colorscale": "Viridis",
        "cmin": min(scores, default=0), "cmax": max(scores, default=1), "line": {"width": 1, "color": INK},
        "reversescale": search.direction == "minimize", "showscale": not tail,
        "colorbar": {"title": {"text": metric_name(search)}, "thickness": 12},
    }  # fmt: skip
    low_x, low_y = (p.from_unit(-0.8 * RUG_HEIGHT) if p else min(scores, default=0) for p in (x, y))
    return [
        common | {"x": across, "y": up, "marker": marker, "text": [hover_text(search, t) for t in own],
                  "customdata": [trial_link(t) for t in own], "hovertemplate": HOVER},
        common | {"x": across, "y": [low_y] * len(own), "hoverinfo": "skip",
                  "marker": {"symbol": "line-ns", "size": 14, "line": {"width": 1.5, "color": INK}}},
        common | {"x": [low_x] * len(own), "y": up, "hoverinfo": "skip",
                  "marker": {"symbol": "line-ew", "size": 14, "line": {"width": 1.5, "color": INK}}},
    ]  # fmt: skip


def progress_chart(search: Search, found: Sequence[SamplerStats]) -> Chart:
    """The best score so far of each sampler, over its trials."""
    data = [
        {"type": "scatter", "mode": "lines", "name": s.sampler,
         "line": {"shape": "hv", "width": 2.5, "color": round_color(i)},
         "x": list(range(s.trials - len(s.so_far) + 1, s.trials + 1)), "y": list(s.so_far),
         "hovertemplate": "after %{x} trials: %{y:.4f}"}
        for i, s in enumerate(found)
    ]  # fmt: skip
    layout = {"xaxis": {"title": {"text": "trials"}}, "yaxis": {"title": {"text": f"best {metric_name(search)}"}}}
    return Chart("progress", "The best so far", {"data": data, "layout": layout}, height=300, wide=True)


def seeds_chart(search: Search, comparison: SeedComparison) -> Chart:
    """Winner and runner-up: the score of each seed, mean and standard deviation, and what the search had promised."""
    trained = [r for r in (comparison.runner_up, comparison.winner) if r is not None]
    rows = [f"trial {r.trial}" for r in trained]
    spread = {
        "type": "scatter", "mode": "markers", "name": "mean ± standard deviation", "y": rows,
        "x": [r.mean for r in trained], "marker": {"symbol": "line-ns", "size": 22, "line": {"width": 3, "color": INK}},
        "error_x": {"array": [r.spread or 0 for r in trained], "thickness": 1.5, "color": INK},
        "hovertemplate": "%{y}: %{x:.4f} on average<extra></extra>",
    }  # fmt: skip
    dots = {
        "type": "scatter", "mode": "markers", "name": "one seed", "marker": {"size": 11, "color": COLOURS[0]},
        "y": [row for row, r in zip(rows, trained, strict=True) for _ in r.known],
        "x": [score for r in trained for score in r.known], "hovertemplate": "%{x:.4f}<extra></extra>",
    }  # fmt: skip
    promised = {
        "type": "scatter", "mode": "markers", "name": "in the search", "y": rows, "x": [r.searched for r in trained],
        "marker": {"symbol": "diamond-open", "size": 12, "color": COLOURS[1], "line": {"width": 2}},
        "hovertemplate": "in the search: %{x:.4f}<extra></extra>",
    }  # fmt: skip
    layout = {
        "xaxis": {"title": {"text": metric_name(search)}, "zeroline": False},
        "yaxis": {"type": "category", "range": [-0.6, len(rows) - 0.4]},
        "hovermode": "closest",
    }
    title = f"The two best with {len(comparison.seeds)} other seeds"
    note = "What was chosen for its score owes something to luck: other seeds usually give less than the search did."
    return Chart("seeds", title, {"data": [spread, dots, promised], "layout": layout}, note=note, height=250, wide=True)
