"""Each block of a page as HTML, every text escaped."""

from __future__ import annotations

import base64
import functools
import html

from pipeline.report.blocks import (
    Block,
    Callout,
    Cell,
    Chart,
    Command,
    Images,
    Link,
    PngImage,
    ScriptSlot,
    Section,
    StatTiles,
    Table,
    Text,
)

MARKS = {"passed": "✓", "failed": "✕", "error": "✕", "warning": "!", "info": "i", "interrupted": "‖", "running": "…"}
"""Beside every colour a sign, for those who see no colour."""

SHORT = 18
"""Letters that a table keeps on one line."""

escape = html.escape


@functools.singledispatch
def block_html(block: Block) -> str:
    raise TypeError(f"a page has no {type(block).__name__}")


@block_html.register
def _(block: ScriptSlot) -> str:
    return f'<figure class="chart wide"><h3>{escape(block.title)}</h3><div id="{escape(block.id)}"></div></figure>'


@block_html.register
def _(block: Text) -> str:
    return f'<p class="wide{" muted" if block.muted else ""}">{escape(block.text)}</p>'


@block_html.register
def _(block: Command) -> str:
    title = f"<span>{escape(block.title)}</span>" if block.title else ""
    return f'<div class="command wide">{title}<code>{escape(block.text)}</code><button class="copy">copy</button></div>'


@block_html.register
def _(block: StatTiles) -> str:
    tiles = "".join(
        f'<div class="tile {escape(status)}"><dt>{escape(name)}</dt><dd>{escape(value)}</dd>'
        f"<small>{escape(note)}</small></div>"
        for name, value, note, status in block.items
    )
    return f'<dl class="numbers wide">{tiles}</dl>'


@block_html.register
def _(block: Callout) -> str:
    lines = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in block.lines)
    commands = "".join(block_html(command) for command in block.commands)
    return (
        f'<article class="callout wide {escape(block.severity)}"><h3>{escape(block.title)}</h3>'
        f"<p>{escape(block.message)}</p><dl>{lines}</dl>{commands}</article>"
    )


@block_html.register
def _(block: Chart) -> str:
    buttons = "".join(
        f'<button data-chart="{block.id}" data-view="{escape(name)}" aria-pressed="{str(i == 0).lower()}">'
        f"{escape(name)}</button>"
        for i, name in enumerate(block.views)
    )
    views = f'<span class="views">{buttons}</span>' if buttons else ""
    note = f"<figcaption>{escape(block.note)}</figcaption>" if block.note else ""
    return (
        f'<figure class="chart{" wide" if block.wide else ""}"><h3>{escape(block.title)}{views}</h3>'
        f'<div id="{block.id}" class="plot" role="img" aria-label="{escape(block.title)}" '
        f'style="height:{block.height:d}px"><p class="muted">drawn by JavaScript</p></div>{note}</figure>'
    )


@block_html.register
def _(block: Table) -> str:
    order = '<th scope="col"{}>{}</th>'
    sort = ' tabindex="0" aria-sort="none"' if block.sortable else ""
    head = "".join(order.format(sort, escape(header)) for header in block.headers)
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in block.rows)
    caption = f"<caption>{escape(block.caption)}</caption>" if block.caption else ""
    kind = "sortable" if block.sortable else ""
    return (
        f'<div class="table{" wide" if block.wide else ""}"><table class="{kind}">{caption}'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


@block_html.register
def _(block: Images) -> str:
    note = f"<figcaption>{escape(block.note)}</figcaption>" if block.note else ""
    tiles = "".join(
        f"<figure>{picture_html(picture)}<figcaption>{escape(caption)}</figcaption></figure>"
        for caption, picture in block.items
    )
    return (
        f'<figure class="images{" wide" if block.wide else ""}"><h3>{escape(block.title)}</h3>'
        f'<div class="tiles">{tiles}</div>{note}</figure>'
    )


def picture_html(picture: PngImage) -> str:
    data = base64.b64encode(picture.png).decode()
    return (
        f'<img alt="{escape(picture.alt)}" src="data:image/png;base64,{data}" '
        f'width="{picture.width * picture.scale:.0f}" height="{picture.height * picture.scale:.0f}">'
    )


def _cell(cell: Cell) -> str:
    if cell is None:
        return "<td></td>"
    if isinstance(cell, PngImage):
        return f"<td>{picture_html(cell)}</td>"
    if isinstance(cell, Link):
        return f'<td><a href="{escape(cell.href)}">{escape(cell.text)}</a></td>'
    if isinstance(cell, (int, float)) and not isinstance(cell, bool):
        shown = f"{cell:,}" if isinstance(cell, int) else f"{cell:.4g}"
        return f'<td class="number" data-value="{cell!r}">{shown}</td>'
    short = ' class="short"' if len(str(cell)) <= SHORT else ""
    return f"<td{short}>{escape(str(cell))}</td>"


def chip_html(section: Section) -> str:
    """The section's entry in the navigation."""
    mark = MARKS.get(section.status, "")
    sign = f"<b>{mark}</b>" if mark else ""
    return f'<a href="#{section.id}" class="{section.status}">{sign}{escape(section.title)}</a>'
