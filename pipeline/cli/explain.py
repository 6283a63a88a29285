"""`explain`: a page of the catalogue of checks, drawn on a terminal and plain Markdown in a pipe."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rich.console import Console
from rich.markdown import Markdown
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from pipeline.cli.check_docs import CheckDoc, check_docs
from pipeline.errors import UserError, did_you_mean
from pipeline.report.console import console

COLOURS = {"failure": "red", "warning": "yellow", "info": "cyan"}


def explain(arguments: Sequence[str]) -> int:
    """Print the page of one check, or, without an argument, a line on each. Raises `UserError` for another word."""
    checks = check_docs()
    out = console()
    if not arguments:
        _list(out, list(checks.values()))
        return 0
    name = arguments[0]
    if len(arguments) > 1 or name not in checks:
        meant = did_you_mean(name, checks)
        raise UserError(f"give one check: there is no {' '.join(arguments)!r}.{meant} Without a name: all of them.")
    if out.soft_wrap:
        out.print(Text(re.sub(r"\[(\w+)\]\(#\w+\)", r"\1", checks[name].markdown()).rstrip("\n")))
    else:
        _draw(out, checks[name])
    return 0


def _list(out: Console, checks: Sequence[CheckDoc]) -> None:
    width = max(len(page.check) for page in checks)
    for page in checks:
        if out.soft_wrap:
            out.print(Text(f"{page.check:<{width}}  {page.anti_pattern}"))
        elif out.width >= width + 32:
            _two(out, Text(page.check, "bold"), Text(page.anti_pattern), width=width, indent=0)
        else:
            out.print(Text(page.check, "bold"))
            out.print(Padding(Text(page.anti_pattern), (0, 0, 0, 2)))


def _draw(out: Console, page: CheckDoc) -> None:
    source = page.source
    out.print(Text.assemble((page.check, "bold"), "  ", *_severities(source.severities)))
    out.print(_words(page.anti_pattern))
    out.print()
    _rows(out, [("rule", [page.rule]), ("reads", [", ".join(source.stages)])])
    for place, threshold in enumerate(page.thresholds):
        key = Text(f"checks.rules.{page.check}.{threshold.name}={threshold.value}", "cyan")
        _two(out, Text("" if place else "limits", "dim"), key, width=9, indent=0)
        out.print(Padding(Text(threshold.comment), (0, 0, 0, 14)))
    _rows(out, [("why", list(source.whys))])
    _rows(out, [("try", list(source.remedies) or ["nothing that a configuration has"])], style="bold")
    _rows(out, [("source", list(source.sources))])
    _rows(out, [("explains", [", ".join(page.explains)]), ("caused by", [", ".join(page.explained_by)])])


def _rows(out: Console, rows: Sequence[tuple[str, list[str]]], *, style: str = "") -> None:
    for title, texts in rows:
        for place, text in enumerate(text for text in texts if text):
            words = Text(text, style) if style else _words(text)
            _two(out, Text("" if place else title, "dim"), words, width=9, indent=0)


def _two(out: Console, left: Text, right: Text | Markdown, *, width: int, indent: int) -> None:
    """Two columns, of which the second goes on below itself."""
    table = Table.grid(padding=(0, 1, 0, 0))
    table.add_column(width=width, no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row(left, right)
    out.print(Padding(table, (0, 0, 0, indent)))


def _words(text: str) -> Text:
    """Text with what stands in backquotes as code."""
    parts = re.split(r"`([^`]*)`", text)
    return Text.assemble(*((part, "cyan" if place % 2 else "") for place, part in enumerate(parts)))


def _severities(severities: Sequence[str]) -> list[tuple[str, str]]:
    return [(f"{severity} ", COLOURS[severity]) for severity in severities]
