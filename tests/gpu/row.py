"""The rows of the table of tests/gpu/check.sh."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

OK, MISSED, NOT_RUN, REPORTED = "ok", "MISSED", "not run here", "-"
COLOURS = {OK: "green", MISSED: "bold red", NOT_RUN: "yellow", REPORTED: "dim"}


@dataclass(frozen=True)
class Row:
    """A target, what was measured, and whether that is enough. `REPORTED` is a number without a target.

    `detail` is shown below the table: the last lines of an output that explain a miss.
    """

    part: int
    target: str
    measured: str
    state: str
    detail: str = ""


def judge(part: int, target: str, measured: str, is_met: bool, detail: str = "") -> Row:
    return Row(part, target, measured, OK if is_met else MISSED, "" if is_met else detail)


def exit_code(rows: Iterable[Row]) -> int:
    """Return 1 where a target is missed."""
    return int(any(row.state == MISSED for row in rows))


def print_rows(console: Console, title: str, rows: list[Row]) -> None:
    """Print the table, then what explains the misses."""
    table = Table(title=title, title_justify="left")
    for heading in ("part", "target", "measured", ""):
        table.add_column(heading)
    for row in sorted(rows, key=lambda row: row.part):
        table.add_row(str(row.part), Text(row.target), Text(row.measured), Text(row.state, style=COLOURS[row.state]))
    console.print(table)
    for detail in dict.fromkeys(row.detail for row in rows if row.detail):  # rows of one command share it
        for row in rows:
            if row.detail == detail:
                console.print(Text(f"{row.target}: {row.measured}", style="bold"))
        console.print(Text(f"{detail}\n"))


def count_states(rows: Iterable[Row]) -> dict[str, Any]:
    """Return state -> number of rows."""
    rows = list(rows)
    return {state: sum(row.state == state for row in rows) for state in (OK, MISSED, NOT_RUN)}
