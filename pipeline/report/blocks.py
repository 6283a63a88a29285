"""What a page is made of, as plain data. Every text is shown as it is: nothing in it is ever read as markup."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

# Colours of charts, by name: the page gives each a light and a dark value that colour-blind readers tell apart.
BLUE, ORANGE, GREEN, RED, SKY, PURPLE = (
    f"var(--{name})" for name in ("blue", "orange", "green", "red", "sky", "purple")
)
INK, MUTED, GRID, BAND, PAPER = (f"var(--{name})" for name in ("ink", "muted", "grid", "band", "paper"))
COLOURS = (BLUE, ORANGE, GREEN, PURPLE, SKY, RED)
"""In the order in which a chart's lines take them; red comes last, since it also says that something is wrong."""

STATUSES = ("", "passed", "failed", "warning", "info", "skipped", "interrupted", "error", "running")


class PlotlyMarkup(str):
    """A label inside a chart in which Plotly's own few tags (`<br>`, `<b>`) are meant; escape its parts by `label`."""


def escape_plotly(text: object) -> str:
    """Text for a `Markup`: Plotly reads `<br>` and `&lt;` in labels, so what is not meant so is spelled out."""
    return str(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


@dataclass(frozen=True)
class Chart:
    """A Plotly figure: `{"data": [...], "layout": {...}}`. Strings in it are text, but for `hovertemplate` and
    `texttemplate` (put users' words into `customdata` or `text`, never there) and for `Markup`. Fonts, margins,
    background and grid come from the page; colours are best named (`BLUE`, ...), so that they follow light and dark.

    `views`: names of buttons above the chart, each with what it changes in the layout:
    `{"linear": {"yaxis.type": "linear"}, "log": {"yaxis.type": "log"}}`; the chart is drawn in the first.
    """

    id: str
    title: str
    figure: Mapping[str, Any]
    note: str = ""
    height: int = 320
    wide: bool = False
    views: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        assert re.fullmatch(r"[a-z][a-z0-9_-]*", self.id), f"{self.id!r} cannot name a part of a page"


@dataclass(frozen=True)
class Link:
    """To another file (relative, so that folders can be moved) or into the page (`#train`)."""

    text: str
    href: str

    def __post_init__(self) -> None:
        scheme = re.match(r"\s*([^/?#]*?):", self.href)
        assert not scheme or scheme[1].lower() in ("http", "https"), f"no link to {self.href!r}"


@dataclass(frozen=True)
class PngImage:
    """A PNG, `scale` times as large on the screen as its pixels."""

    png: bytes
    alt: str
    width: int
    height: int
    scale: float = 2.0


Cell = str | int | float | None | Link | PngImage


@dataclass(frozen=True)
class Table:
    """Sorted by a click on a header; numbers sort as numbers."""

    headers: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    caption: str = ""
    wide: bool = True
    sortable: bool = True


@dataclass(frozen=True)
class Images:
    """Pictures with their captions, side by side."""

    title: str
    items: Sequence[tuple[str, PngImage]]
    note: str = ""
    wide: bool = True


@dataclass(frozen=True)
class Text:
    text: str
    muted: bool = False


@dataclass(frozen=True)
class Command:
    """A line to copy into a shell."""

    text: str
    title: str = ""


@dataclass(frozen=True)
class StatTiles:
    """What was measured against what was expected, large: (name, value, note, status)."""

    items: Sequence[tuple[str, str, str, str]]


@dataclass(frozen=True)
class Callout:
    """Something found: title, message, lines of (name, text), and commands that should mend it."""

    severity: str
    title: str
    message: str
    lines: Sequence[tuple[str, str]] = ()
    commands: Sequence[Command] = ()


@dataclass(frozen=True)
class ScriptSlot:
    """A place that one of the page's own scripts fills."""

    id: str
    title: str


Block = ScriptSlot | Chart | Table | Images | Text | Command | StatTiles | Callout


@dataclass(frozen=True)
class Section:
    """A part of a page with an entry in its navigation; `status` is one of `STATUSES`."""

    title: str
    blocks: Sequence[Block]
    status: str = ""
    summary: str = ""

    @property
    def id(self) -> str:
        return re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-") or "section"
