"""What every picture of a search shows alike: colours of rounds, a trial's details, a link to its folder."""

from __future__ import annotations

from urllib.parse import quote

from pipeline.report.blocks import COLOURS, INK, RED, Markup, label
from pipeline.search.analysis import is_number
from pipeline.search.trial import Search, Trial

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


def colour(place: int) -> str:
    """Of a round or a sampler; red stays for what is broken."""
    return COLOURS[place % (len(COLOURS) - 1)]


def marker(place: int) -> dict[str, object]:
    """Of a round's trials: a colour and, for those who tell few colours apart, a shape."""
    return {"color": colour(place), "symbol": SHAPES[place % len(SHAPES)], "size": 9, "opacity": 0.8}


def metric_name(search: Search) -> str:
    return {"val_accuracy": "validation accuracy", "val_loss": "validation loss"}.get(search.metric, search.metric)


def hover(search: Search, trial: Trial) -> Markup:
    """Everything about a trial, line by line."""
    names = round_names(search)
    lines = [f"<b>trial {trial.number}</b>, {label(names[trial.round])}, {label(trial.state)}"]
    if is_number(trial.score):
        lines.append(f"{metric_name(search)} <b>{trial.score:.4f}</b>")
    lines += [f"{label(key)} = {label(shown(value))}" for key, value in trial.params.items()]
    if trial.reason:
        lines.append(f"<i>{label(trial.reason[:REASON])}</i>")
    if trial.directory:
        lines.append("click: its folder")
    return Markup("<br>".join(lines))


def href(trial: Trial) -> str:
    """The trial's folder, relative to the page."""
    return f"{quote(trial.directory)}/" if trial.directory else ""


def shown(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
