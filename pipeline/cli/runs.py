"""`runs`: what lies in the outputs folder, the newest or the best first; two runs compared; old ones removed."""

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
from pipeline.report.console import console
from pipeline.runs.index import RunEntry, list_runs

MAX_ROWS = 20
"""Rows on a terminal; the others with --all, in a pipe and for scripts."""
COLOURS = {"passed": "green", "searched": "green", "running": "cyan", "failed": "red", "error": "red"}
COLUMNS = ("run", "name", "verdict", "val", "test", "age", "first finding", "overrides")
OPTIONAL_COLUMNS = ("overrides", "first finding", "test", "name")
"""Columns that a narrow terminal does without, the first to go first."""
MIN_OVERRIDES_WIDTH = 20
"""Letters of the overrides that are worth showing."""


def runs(words: Sequence[str]) -> int:
    """List the runs, or do as the first word says: `diff A B`, `prune`."""
    more = {"diff": diff, "prune": prune}
    if words and words[0] in more:
        return more[words[0]](words[1:])
    says = "List runs, the newest first. `runs diff A B` compares two, `runs prune` removes some."
    parser = CommandParser("runs", says, more=tuple(more))
    parser.add_argument("--best", action="store_true", help="the highest validation accuracy first")
    parser.add_argument("--name", help="only runs of this name")
    parser.add_argument("--all", action="store_true", help=f"not only the first {MAX_ROWS}")
    parser.add_argument("--json", action="store_true", help="for scripts")
    parser.add_argument("--outputs", type=Path, default=Path("outputs"), help="the folder in which runs are kept")
    asked = parser.parse(words)
    found = [run for run in list_runs(asked.outputs) if asked.name in (None, run.name)]
    if asked.best:
        found.sort(key=lambda run: (run.validation is None, -(run.validation or 0.0)))
    out = console()
    if asked.json:
        print(as_json(found))
    elif not found:
        out.print(f"no runs in {asked.outputs}" + (f" of the name {asked.name}" if asked.name else ""), markup=False)
    else:
        shown = found if asked.all or out.soft_wrap else found[:MAX_ROWS]
        _table(out, shown)
        if len(shown) < len(found):
            out.print(f"{len(found) - len(shown)} more: --all", style="dim")
    return 0


def _table(out: Console, found: Sequence[RunEntry]) -> None:
    rows = [dict(zip(COLUMNS, _cells(run), strict=True)) for run in found]
    if out.soft_wrap:
        _plain(out, COLUMNS, [[row[column].plain for column in COLUMNS] for row in rows])
        return
    widths = {column: max(len(column), *(len(row[column]) for row in rows)) + 2 for column in COLUMNS}
    columns = list(COLUMNS)
    for column in OPTIONAL_COLUMNS:
        if sum(MIN_OVERRIDES_WIDTH if c == "overrides" else widths[c] for c in columns) > out.width:
            columns.remove(column)
    for row in rows:  # Rich would take room from all columns
        rest = out.width - sum(widths[c] for c in columns if c != "overrides")
        row["overrides"].truncate(max(rest, 0), overflow="ellipsis")
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
    for column in columns:
        table.add_column(column, no_wrap=True, justify="right" if column == "age" else "left")
    for row in rows:
        table.add_row(*(row[column] for column in columns))
    out.print(table)


def _plain(out: Console, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Columns two blanks apart, whole, for grep and awk; what is empty is a dash."""
    lines = [list(columns), *([cell or "-" for cell in row] for row in rows)]
    widths = [max(len(line[place]) for line in lines) for place in range(len(columns))]
    for line in lines:
        out.print(Text("  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip()))


def _cells(run: RunEntry) -> tuple[Text, ...]:
    return (
        Text(run.short_id, "bold"),
        Text(run.name),
        Text(run.status, COLOURS.get(run.status, "yellow")),
        Text(score(run.validation)),
        Text(score(run.test)),
        Text(format_age(time.time() - run.started)),
        Text(run.first_finding, "yellow"),
        Text(shlex.join(run.overrides), "dim"),
    )


def score(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def format_age(seconds: float) -> str:
    """`12 s`, `5 min`, `3 h`, `2 d`, `8 w`: one number is enough to find a run by."""
    for unit, size, until in (("s", 1, 60), ("min", 60, 3600), ("h", 3600, 86400 * 2), ("d", 86400, 86400 * 60)):
        if seconds < until:
            return f"{max(0, int(seconds // size))} {unit}"
    return f"{int(seconds // 604800)} w"


def as_json(found: Iterable[RunEntry]) -> str:
    """One object a run."""
    return json.dumps([_fields(run) for run in found], indent=1)


def _fields(run: RunEntry) -> dict[str, object]:
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
    }
