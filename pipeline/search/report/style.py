"""Colors, markers, names and texts that all charts of a search share."""

from __future__ import annotations

from urllib.parse import quote

from pipeline.report.blocks import COLOURS, INK, RED, PlotlyMarkup, escape_plotly
from pipeline.search.records import Search, Trial
from pipeline.search.results.analysis import is_number

HOVER = "%{text}<extra></extra>"
CROSS = {"color": RED, "symbol": "x-thin", "size": 8, "line": {"width": 1.5, "color": RED}}
"""Marker of a trial that broke or was pruned."""
RING = {"color": "rgba(0,0,0,0)", "size": 17, "line": {"color": INK, "width": 2}}
"""Marker around the best trial."""
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "pentagon", "star")
MAX_REASON = 120
"""Letters of a reason that fit beside a point."""


def round_names(search: Search) -> list[str]:
    """Return a name for each round: `coarse`, `coarse 2`, `fine`. A widened round has the option of the one before."""
    names = [search_round.name for search_round in search.rounds]
    return [f"{name} {names[:i].count(name) + 1}" if name in names[:i] else name for i, name in enumerate(names)]


def round_color(index: int) -> str:
    """Return the color of a round or a sampler. Red is reserved for broken trials."""
    return COLOURS[index % (len(COLOURS) - 1)]


def round_marker(index: int) -> dict[str, object]:
    """Return the marker of a round's trials: a color and, for readers who tell few colors apart, a symbol."""
    return {"color": round_color(index), "symbol": SYMBOLS[index % len(SYMBOLS)], "size": 9, "opacity": 0.8}


def metric_name(search: Search) -> str:
    """Return the metric of the search in words."""
    return {"val_accuracy": "validation accuracy", "val_loss": "validation loss"}.get(search.metric, search.metric)


def hover_text(search: Search, trial: Trial) -> PlotlyMarkup:
    """Return the text that appears beside a trial's point."""
    name = round_names(search)[trial.round]
    lines = [f"<b>trial {trial.number}</b>, {escape_plotly(name)}, {escape_plotly(trial.state)}"]
    if is_number(trial.score):
        lines.append(f"{metric_name(search)} <b>{trial.score:.4f}</b>")
    lines += [f"{escape_plotly(key)} = {escape_plotly(format_value(value))}" for key, value in trial.params.items()]
    if trial.reason:
        lines.append(f"<i>{escape_plotly(trial.reason[:MAX_REASON])}</i>")
    if trial.directory:
        lines.append("click: its directory")
    return PlotlyMarkup("<br>".join(lines))


def trial_link(trial: Trial) -> str:
    """Return the trial's directory, relative to the page, or an empty text if it has none."""
    return f"{quote(trial.directory)}/" if trial.directory else ""


def format_value(value: object) -> str:
    """Return a parameter's value as text, numbers with three digits."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)
