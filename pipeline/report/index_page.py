"""index.html: all runs in one table, and any two of them compared: configuration, results, curves on one chart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.report.blocks import Link, ScriptSlot, Section, StatTiles, Table, Text
from pipeline.report.figures.traces import round_significant
from pipeline.report.html import MARKS
from pipeline.report.page import render_page

CURVES = ("epoch", "loss", "accuracy", "val_loss", "val_accuracy")
COMPARED = 200
"""Runs that can be compared, the newest: more would make the page heavy."""


@dataclass(frozen=True)
class RunRow:
    """A run as the index tells it. `config`: every key in dotted form; `curves`: columns of history.csv."""

    label: str
    href: str | None
    status: str
    validation: float | None
    test: float | None
    seconds: float
    started: str
    overrides: str
    finding: str = ""
    config: Mapping[str, str] = field(default_factory=dict)
    curves: Mapping[str, Sequence[float]] = field(default_factory=dict)


def index_page(runs: Sequence[RunRow], *, folder: str) -> str:
    """The page; `runs`: the newest first."""
    counts = Counter(run.status for run in runs)
    told = ", ".join(f"{count} {status}" for status, count in counts.most_common())
    best = max((run for run in runs if run.validation is not None), key=lambda run: run.validation or 0, default=None)
    tiles = [("runs", f"{len(runs)}", told, "")]
    if best is not None:
        tiles.append(("best validation accuracy", f"{best.validation:.4f}", best.label, "passed"))
    compared = [run for run in runs if run.config][:COMPARED]
    data = {"runs": [_plain(run, _telling(compared)) for run in compared]}
    sections = [Section("runs", [_table(runs)] if runs else [Text(f"There are no runs in {folder}.", muted=True)])]
    sections.append(Section("compare", [ScriptSlot("side-by-side", "Two runs, side by side")]))
    return render_page(
        title=folder,
        verdict=f"{len(runs)} runs" if len(runs) != 1 else "1 run",
        status="",
        subtitle=told,
        top=[StatTiles(tiles)] if runs else [],
        sections=sections,
        scripts=[(Path(__file__).parent / "compare.js").read_text()],
        data=data,
    )


def _table(runs: Sequence[RunRow]) -> Table:
    headers = ["run", "started", "verdict", "validation", "test", "seconds", "first finding", "overrides"]
    rows = [
        [
            Link(run.label, run.href) if run.href else run.label,
            run.started,
            f"{MARKS.get(run.status, '')} {run.status}".strip(),
            run.validation,
            run.test,
            round(run.seconds, 1),
            run.finding,
            run.overrides,
        ]
        for run in runs
    ]
    return Table(headers, rows)


def _telling(runs: Sequence[RunRow]) -> set[str]:
    """Keys in which not all runs agree: the others can differ between no two."""
    values: dict[str, set[str | None]] = {key: set() for run in runs for key in run.config}
    return {key for key in values if len({run.config.get(key) for run in runs}) > 1}


def _plain(run: RunRow, keys: set[str]) -> dict[str, object]:
    return {
        "label": run.label,
        "status": run.status,
        "validation": None if run.validation is None else f"{run.validation:.4f}",
        "test": None if run.test is None else f"{run.test:.4f}",
        "seconds": f"{run.seconds:.1f}",
        "config": {key: value for key, value in run.config.items() if key in keys},
        "curves": {key: round_significant(run.curves[key]) for key in CURVES if run.curves.get(key)},
    }
