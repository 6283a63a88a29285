"""`explain`: one section of docs/checks.md, drawn on a terminal and plain Markdown in a pipe."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from pipeline.cli.check_docs import NO_REMEDY, CheckDoc, check_docs
from pipeline.cli.parser import CommandParser
from pipeline.errors import UserError, did_you_mean
from pipeline.report.console import SEVERITY_COLORS, console

LABEL_WIDTH = 9


def explain(args: Sequence[str]) -> int:
    """Print the section of the check that `args` names; without a name one line for each check.

    With `--config-dir FOLDER` the checks of the user's own options are among them. Raises `UserError` if there is no
    such check, or more than one argument.
    """
    parser = CommandParser("explain", "Describe a check: its rule, thresholds, reason, remedies and source.")
    parser.add_argument("check", metavar="CHECK", nargs="*", help="the check; without one all checks are listed")
    parser.add_argument("--config-dir", metavar="FOLDER", type=Path, help="a folder of your own options, with checks/")
    parsed = parser.parse(args, intermixed=True)
    args, folder = parsed.check, parsed.config_dir
    if folder and not folder.is_dir():
        raise UserError(f"there is no folder {str(folder)!r}.", field="--config-dir")
    docs = check_docs(folder)
    out = console()
    if not args:
        _print_list(out, list(docs.values()))
        return 0
    name = args[0]
    if len(args) > 1 or name not in docs:
        closest = did_you_mean(name, docs)
        raise UserError(
            f"there is no check {' '.join(args)!r}.{closest} Give one name; without a name all checks are listed."
        )
    if out.soft_wrap:
        out.print(Text(re.sub(r"\[(\w+)\]\(#\w+\)", r"\1", docs[name].markdown()).rstrip("\n")))
    else:
        _print_section(out, docs[name])
    return 0


def _print_list(out: Console, docs: Sequence[CheckDoc]) -> None:
    width = max(len(doc.check) for doc in docs)
    for doc in docs:
        if out.soft_wrap:
            out.print(Text(f"{doc.check:<{width}}  {doc.anti_pattern}"))
        elif out.width >= width + 32:
            _print_columns(out, Text(doc.check, "bold"), Text(doc.anti_pattern), width=width)
        else:
            out.print(Text(doc.check, "bold"))
            out.print(Padding(Text(doc.anti_pattern), (0, 0, 0, 2)))


def _print_section(out: Console, doc: CheckDoc) -> None:
    rule = doc.rule_class
    severities = ((f"{severity} ", SEVERITY_COLORS[severity]) for severity in rule.severities)
    out.print(Text.assemble((doc.check, "bold"), "  ", *severities))
    out.print(_with_code(doc.anti_pattern))
    out.print()
    _print_rows(out, "rule", doc.rule.split("\n\n"))
    _print_rows(out, "stages", [", ".join(doc.stages)])
    _print_rows(out, "reads", [", ".join(rule.reads)])
    for index, threshold in enumerate(doc.thresholds):
        key = Text(f"checks.rules.{doc.check}.{threshold.name}={threshold.value}", "cyan")
        _print_columns(out, Text("" if index else "limits", "dim"), key, width=LABEL_WIDTH)
        out.print(Padding(Text(threshold.comment), (0, 0, 0, LABEL_WIDTH + 5)))
    _print_rows(out, "why", [rule.why])
    _print_rows(out, "try", rule.remedies or (NO_REMEDY,), style="bold")
    _print_rows(out, "change", [rule.advice])
    _print_rows(out, "code", [rule.code], style="cyan")
    _print_rows(out, "source", [rule.source])
    _print_rows(out, "explains", [", ".join(doc.explains)])
    _print_rows(out, "caused by", [", ".join(doc.explained_by)])


def _print_rows(out: Console, label: str, texts: Sequence[str], *, style: str = "") -> None:
    """Print one row for each text that is not empty, the label before the first."""
    for index, text in enumerate(text for text in texts if text):
        styled = Text(text, style) if style else _with_code(text)
        _print_columns(out, Text("" if index else label, "dim"), styled, width=LABEL_WIDTH)


def _print_columns(out: Console, left: Text, right: Text, *, width: int) -> None:
    """Print two columns, the second wrapped below itself."""
    table = Table.grid(padding=(0, 1, 0, 0))
    table.add_column(width=width, no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row(left, right)
    out.print(table)


def _with_code(text: str) -> Text:
    """Return `text` with its parts in backquotes as code."""
    parts = re.split(r"`([^`]*)`", text)
    return Text.assemble(*((part, "cyan" if index % 2 else "") for index, part in enumerate(parts)))
