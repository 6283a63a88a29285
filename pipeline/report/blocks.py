"""The blocks of a page, as plain data. Every text in them is shown as it is and never read as markup."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

# Colours of charts by name: page.css gives each a light and a dark value that colour-blind readers can tell apart.
BLUE, ORANGE, GREEN, RED, SKY, PURPLE = (
    f"var(--{name})" for name in ("blue", "orange", "green", "red", "sky", "purple")
)
INK, MUTED, GRID, BAND, PAPER = (f"var(--{name})" for name in ("ink", "muted", "grid", "band", "paper"))
COLOURS = (BLUE, ORANGE, GREEN, PURPLE, SKY, RED)
"""The order in which the lines of a chart take them. Red is last, since it also marks what is wrong."""

STATUSES = ("", "passed", "failed", "warning", "info", "skipped", "interrupted", "error", "running")
STATUS_MARKS = {
    "passed": "✓", "failed": "✕", "error": "✕", "warning": "!", "info": "i", "interrupted": "‖", "running": "…",
}  # fmt: skip
"""A sign beside every colour, for readers who see no colours."""


class PlotlyMarkup(str):
    """A label of a chart that contains Plotly's tags (`<br>`, `<b>`). Pass its parts through `escape_plotly`."""


def escape_plotly(text: object) -> str:
    """Return `text` for a `PlotlyMarkup`: Plotly would read `<br>` and `&lt;` in it as markup."""
    return str(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


@dataclass(frozen=True)
class Chart:
    """A Plotly figure `{"data": [...], "layout": {...}}`.

    Strings in it are shown as text, except for `hovertemplate`, `texttemplate` and `PlotlyMarkup`. Texts of users
    belong into `customdata` or `text`. Fonts, margins, background and grid come from the page. Colours should be names
    (`BLUE`, ...), so that they follow light and dark mode.

    `views` are buttons above the chart, each with what it changes in the layout: `{"linear": {"yaxis.type": "linear"},
    "log": {"yaxis.type": "log"}}`. The chart is drawn in the first view.
    """

    id: str
    title: str
    figure: Mapping[str, Any]
    note: str = ""
    height: int = 320
    wide: bool = False
    views: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        assert re.fullmatch(r"[a-z][a-z0-9_-]*", self.id), f"{self.id!r} cannot be the id of an element"


@dataclass(frozen=True)
class Link:
    """A link to another file (relative, so that folders can be moved) or into the page (`#train`)."""

    text: str
    href: str

    def __post_init__(self) -> None:
        scheme = re.match(r"\s*([^/?#]*?):", self.href)
        assert not scheme or scheme[1].lower() in ("http", "https"), f"a page cannot link to {self.href!r}"


@dataclass(frozen=True)
class PngImage:
    """A PNG file, shown `scale` times as large as its pixels."""

    png: bytes
    alt: str
    width: int
    height: int
    scale: float = 2.0


Cell = str | int | float | None | Link | PngImage


@dataclass(frozen=True)
class Table:
    """A table that a click on a header sorts; numbers sort as numbers."""

    headers: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    caption: str = ""
    wide: bool = True
    sortable: bool = True


@dataclass(frozen=True)
class Images:
    """Images with their captions, side by side."""

    title: str
    items: Sequence[tuple[str, PngImage]]
    note: str = ""
    wide: bool = True


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str
    muted: bool = False


@dataclass(frozen=True)
class Command:
    """A line to copy, into a shell or into code."""

    text: str
    title: str = ""


@dataclass(frozen=True)
class StatTiles:
    """Large numbers: (name, value, note, status) of each."""

    items: Sequence[tuple[str, str, str, str]]


@dataclass(frozen=True)
class Callout:
    """A finding: title, message, lines of (name, text), and commands that should fix it."""

    severity: str
    title: str
    message: str
    lines: Sequence[tuple[str, str]] = ()
    commands: Sequence[Command] = ()


@dataclass(frozen=True)
class Folded:
    """A list of (name, text) that a click on its title unfolds."""

    title: str
    lines: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class ScriptSlot:
    """An element that a script of the page fills."""

    id: str
    title: str


Block = ScriptSlot | Chart | Table | Images | Text | Command | StatTiles | Callout | Folded


@dataclass(frozen=True)
class Section:
    """A part of a page with an entry in its navigation; `status` is one of `STATUSES`."""

    title: str
    blocks: Sequence[Block]
    status: str = ""
    summary: str = ""

    @property
    def id(self) -> str:
        """The id of the section's element, made of its title."""
        return re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-") or "section"
