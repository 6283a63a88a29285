"""What every picture of a search shows alike: colours of rounds, a trial's details, a link to its folder."""

from __future__ import annotations

from urllib.parse import quote

from pipeline.report.blocks import COLOURS, INK, RED, PlotlyMarkup, escape_plotly
from pipeline.search.records import Search, Trial
from pipeline.search.results.analysis import is_number

HOVER = "%{text}<extra></extra>"
CROSS = {"color": RED, "symbol": "x-thin", "size": 8, "line": {"width": 1.5, "color": RED}}
"""The mark of a trial that broke or was pruned."""
RING = {"color": "rgba(0,0,0,0)", "size": 17, "line": {"color": INK, "width": 2}}
"""Around the best."""
SHAPES = ("circle", "square", "diamond", "triangle-up", "pentagon", "star")
REASON = 120
"""Most letters of a reason that fit beside a point."""


def round_names(search: Search) -> list[str]:
    """`coarse`, `coarse 2`, `fine`: a round that widens has the name of the one before."""
    names = [about.name for about in search.rounds]
    return [f"{name} {names[:i].count(name) + 1}" if name in names[:i] else name for i, name in enumerate(names)]


def round_color(place: int) -> str:
    """Of a round or a sampler; red stays for what is broken."""
    return COLOURS[place % (len(COLOURS) - 1)]


def marker(place: int) -> dict[str, object]:
    """Of a round's trials: a colour and, for those who tell few colours apart, a shape."""
    return {"color": round_color(place), "symbol": SHAPES[place % len(SHAPES)], "size": 9, "opacity": 0.8}


def metric_name(search: Search) -> str:
    return {"val_accuracy": "validation accuracy", "val_loss": "validation loss"}.get(search.metric, search.metric)


def hover_text(search: Search, trial: Trial) -> PlotlyMarkup:
    """Everything about a trial, line by line."""
    names = round_names(search)
    lines = [f"<b>trial {trial.number}</b>, {escape_plotly(names[trial.round])}, {escape_plotly(trial.state)}"]
    if is_number(trial.score):
        lines.append(f"{metric_name(search)} <b>{trial.score:.4f}</b>")
    lines += [f"{escape_plotly(key)} = {escape_plotly(shown(value))}" for key, value in trial.params.items()]
    if trial.reason:
        lines.append(f"<i>{escape_plotly(trial.reason[:REASON])}</i>")
    if trial.directory:
        lines.append("click: its folder")
    return PlotlyMarkup("<br>".join(lines))


def trial_link(trial: Trial) -> str:
    """The trial's folder, relative to the page."""
    return f"{quote(trial.directory)}/" if trial.directory else ""


def shown(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
