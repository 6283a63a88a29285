"""`runs`: list the runs in the outputs folder. `runs diff` compares two of them, `runs prune` removes some."""

from __future__ import annotations

import datetime
import json
import shlex
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.cli.diff import diff
from pipeline.cli.parser import CommandParser
from pipeline.cli.prune import prune
from pipeline.errors import PASSED
from pipeline.report.console import console
from pipeline.runs.index import RunEntry, list_runs

MAX_ROWS = 20
"""Rows on a terminal without --all. A pipe gets all rows."""
STYLES = {"passed": "green", "searched": "green", "running": "cyan", "failed": "red", "error": "red", "broken": "red"}
COLUMNS = ("run", "name", "verdict", "val", "test", "age", "first finding", "overrides")
OPTIONAL_COLUMNS = ("overrides", "first finding", "test", "name")
"""Columns that are left out on a narrow terminal, in this order."""
MIN_OVERRIDES_WIDTH = 20
"""Columns of the terminal that overrides need to be worth showing."""


def runs(args: Sequence[str]) -> int:
    """List the runs, or run the subcommand `diff` or `prune`."""
    subcommands = {"diff": diff, "prune": prune}
    if args and args[0] in subcommands:
        return subcommands[args[0]](args[1:])
    description = "List runs, the newest first. `runs diff A B` compares two, `runs prune` removes some."
    parser = CommandParser("runs", description, subcommands=tuple(subcommands))
    parser.add_argument("--best", action="store_true", help="the highest validation accuracy first")
    parser.add_argument("--name", help="only runs of this name")
    parser.add_argument("--all", action="store_true", help=f"all runs, not only the first {MAX_ROWS}")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--outputs", type=Path, default=Path("outputs"), help="the folder of all runs")
    parsed = parser.parse(args)
    entries = [run for run in list_runs(parsed.outputs) if parsed.name in (None, run.name)]
    if parsed.best:
        entries.sort(key=lambda run: (run.validation is None, -(run.validation or 0.0)))
    out = console()
    if parsed.json:
        print(to_json(entries))
    elif not entries:
        out.print(f"no runs in {parsed.outputs}" + (f" named {parsed.name}" if parsed.name else ""), markup=False)
    else:
        shown = entries if parsed.all or out.soft_wrap else entries[:MAX_ROWS]
        _print_table(out, shown)
        if len(shown) < len(entries):
            out.print(f"{len(entries) - len(shown)} more: --all", style="dim")
    return PASSED


def format_age(seconds: float) -> str:
    """Return an age as one number and its unit: `12 s`, `5 min`, `3 h`, `2 d`, `8 w`."""
    for unit, size, end in (("s", 1, 60), ("min", 60, 3600), ("h", 3600, 86400 * 2), ("d", 86400, 86400 * 60)):
        if seconds < end:
            return f"{max(0, int(seconds // size))} {unit}"
    return f"{int(seconds // 604800)} w"


def to_json(entries: Iterable[RunEntry]) -> str:
    """Return a JSON list with one object for each run."""
    return json.dumps([_to_fields(run) for run in entries], indent=1)


def _to_fields(run: RunEntry) -> dict[str, object]:
    return {
        "run": run.short_id,
        "directory": str(run.directory),
        "name": run.name,
        "status": run.status,
        "val_accuracy": run.validation,
        "test_accuracy": run.test,
        "seconds": run.seconds,
        "started": datetime.datetime.fromtimestamp(run.started).isoformat(),
        "first_finding": run.first_finding or None,
        "overrides": list(run.overrides),
        "problem": run.problem or None,
    }


def _print_table(out: Console, entries: Sequence[RunEntry]) -> None:
    rows = [dict(zip(COLUMNS, _cells(run), strict=True)) for run in entries]
    if out.soft_wrap:
        _print_aligned(out, [COLUMNS, *([row[column].plain or "-" for column in COLUMNS] for row in rows)])
        return
    widths = {column: max(len(column), *(len(row[column]) for row in rows)) + 2 for column in COLUMNS}
    columns = list(COLUMNS)
    for column in OPTIONAL_COLUMNS:
        if sum(MIN_OVERRIDES_WIDTH if name == "overrides" else widths[name] for name in columns) > out.width:
            columns.remove(column)
    for row in rows:  # Rich would narrow all columns
        remaining = out.width - sum(widths[name] for name in columns if name != "overrides")
        row["overrides"].truncate(max(remaining, 0), overflow="ellipsis")
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
    for column in columns:
        table.add_column(column, no_wrap=True, justify="right" if column == "age" else "left")
    for row in rows:
        table.add_row(*(row[column] for column in columns))
    out.print(table)


def _print_aligned(out: Console, lines: Sequence[Sequence[str]]) -> None:
    """Print columns two blanks apart, for grep and awk."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        out.print(Text("  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip()))


def _cells(run: RunEntry) -> tuple[Text, ...]:
    return (
        Text(run.short_id, "bold"),
        Text(run.name),
        Text(run.status, STYLES.get(run.status, "yellow")),
        Text(_format_score(run.validation)),
        Text(_format_score(run.test)),
        Text(format_age(time.time() - run.started)),
        Text(run.first_finding, "yellow"),
        Text(" ".join(run.problem.split()), "red") if run.problem else Text(shlex.join(run.overrides), "dim"),
    )


def _format_score(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
