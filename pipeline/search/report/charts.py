"""Charts of a search: importances, learning curves, and the comparison of the best two with other seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.report.blocks import COLOURS, INK, MUTED, Chart
from pipeline.search.records import Search, Trial
from pipeline.search.report.style import CROSS, HOVER, hover_text, metric_name, round_color, round_names, trial_link
from pipeline.search.results.compare_best import SeedComparison
from pipeline.search.results.importance import Importance


def importance_chart(importances: Sequence[Importance]) -> Chart:
    """Return a bar for the importance of each parameter, with a mark at what chance gives."""
    rows = list(reversed(importances))
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
        "name": "highest value by chance (in 19 of 20 cases)",
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
        "PED-ANOVA compares how the best quarter of the trials and all trials are distributed over a parameter. A grey "
        "bar does not exceed what a parameter without effect may get with so few trials."
    )
    return Chart("importance-bars", "Importance of the parameters", {"data": [bars, chance], "layout": layout},
                 note=note, height=110 + 38 * len(rows))  # fmt: skip


def curves_chart(search: Search, best: Trial | None) -> Chart:
    """Return the score of every trial after each epoch."""
    data: list[dict[str, Any]] = []
    for i, name in enumerate(round_names(search)):
        trials = [t for t in search.trials if t.round == i and t.scores]
        data.append(_curves(search, trials, name=name, line={"color": round_color(i), "width": 1.2}, opacity=0.45))
    if best is not None:
        data.append(_curves(search, [best], name=f"best: trial {best.number}", line={"color": INK, "width": 3}))
    stopped = [t for t in search.trials if t.scores and t.state in ("broken", "pruned")]
    if stopped:
        data.append({
            "type": "scatter", "mode": "markers", "name": "broken or pruned", "marker": CROSS, "hovertemplate": HOVER,
            "x": [len(t.scores) for t in stopped], "y": [t.scores[-1] for t in stopped],
            "text": [hover_text(search, t) for t in stopped], "customdata": [trial_link(t) for t in stopped],
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
    """Return all curves as one line with gaps. With one trace for each round, a thousand trials are drawn at once."""
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


def seeds_chart(search: Search, comparison: SeedComparison) -> Chart:
    """Return the scores of the best two: each seed, mean and standard deviation, and the score in the search."""
    retrained = [r for r in (comparison.runner_up, comparison.winner) if r is not None]
    rows = [f"trial {r.trial}" for r in retrained]
    spread = {
        "type": "scatter", "mode": "markers", "name": "mean ± standard deviation", "y": rows,
        "x": [r.mean for r in retrained],
        "marker": {"symbol": "line-ns", "size": 22, "line": {"width": 3, "color": INK}},
        "error_x": {"array": [r.spread or 0 for r in retrained], "thickness": 1.5, "color": INK},
        "hovertemplate": "%{y}: %{x:.4f} on average<extra></extra>",
    }  # fmt: skip
    dots = {
        "type": "scatter", "mode": "markers", "name": "one seed", "marker": {"size": 11, "color": COLOURS[0]},
        "y": [row for row, r in zip(rows, retrained, strict=True) for _ in r.known],
        "x": [score for r in retrained for score in r.known], "hovertemplate": "%{x:.4f}<extra></extra>",
    }  # fmt: skip
    searched = {
        "type": "scatter", "mode": "markers", "name": "in the search", "y": rows,
        "x": [r.searched for r in retrained],
        "marker": {"symbol": "diamond-open", "size": 12, "color": COLOURS[1], "line": {"width": 2}},
        "hovertemplate": "in the search: %{x:.4f}<extra></extra>",
    }  # fmt: skip
    layout = {
        "xaxis": {"title": {"text": metric_name(search)}, "zeroline": False},
        "yaxis": {"type": "category", "range": [-0.6, len(rows) - 0.4]},
        "hovermode": "closest",
    }
    title = f"The best two trials with {len(comparison.seeds)} other seeds"
    note = "A trial that was chosen for its score owes a part of it to luck: other seeds usually score less."
    return Chart("seeds", title, {"data": [spread, dots, searched], "layout": layout}, note=note, height=250, wide=True)
