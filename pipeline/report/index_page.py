"""index.html: all runs in one table, and a comparison of any two: configuration, results, curves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.report.blocks import STATUS_MARKS, Block, Link, ScriptSlot, Section, StatTiles, Table, Text
from pipeline.report.figures.traces import round_significant
from pipeline.report.page import render_page

CURVES = ("epoch", "loss", "accuracy", "val_loss", "val_accuracy")
MAX_COMPARED = 200
"""Runs that can be compared, the newest; more would make the page heavy."""


@dataclass(frozen=True)
class RunRow:
    """A run as the index shows it."""

    label: str
    href: str | None
    status: str
    validation: float | None
    test: float | None
    seconds: float
    started: str
    overrides: str
    finding: str = ""
    problem: str = ""
    """Why a file of the run cannot be read."""
    config: Mapping[str, str] = field(default_factory=dict)
    """Every key of the configuration in dotted form."""
    curves: Mapping[str, Sequence[float]] = field(default_factory=dict)
    """The columns of history.csv."""


def index_page(runs: Sequence[RunRow], *, folder: str) -> str:
    """Return the page of the runs in `folder`, given with the newest first."""
    counts = Counter(run.status for run in runs)
    summary = ", ".join(f"{count} {status}" for status, count in counts.most_common())
    compared = [run for run in runs if run.config][:MAX_COMPARED]
    keys = _differing_keys(compared)
    table: Block = _table(runs) if runs else Text(f"There are no runs in {folder}.", muted=True)
    return render_page(
        title=folder,
        verdict=f"{len(runs)} runs" if len(runs) != 1 else "1 run",
        status="",
        subtitle=summary,
        top=[_tiles(runs, summary)] if runs else [],
        sections=[
            Section("runs", [table]),
            Section("compare", [ScriptSlot("side-by-side", "Two runs, side by side")]),
        ],
        scripts=[(Path(__file__).parent / "compare.js").read_text()],
        data={"runs": [_to_dict(run, keys) for run in compared]},
    )


def _tiles(runs: Sequence[RunRow], summary: str) -> StatTiles:
    tiles = [("runs", f"{len(runs)}", summary, "")]
    best = max((run for run in runs if run.validation is not None), key=lambda run: run.validation or 0, default=None)
    if best is not None:
        tiles.append(("best validation accuracy", f"{best.validation:.4f}", best.label, "passed"))
    return StatTiles(tiles)


def _table(runs: Sequence[RunRow]) -> Table:
    headers = ["run", "started", "status", "validation", "test", "seconds", "first finding", "overrides"]
    rows = [
        [
            Link(run.label, run.href) if run.href else run.label,
            run.started,
            f"{STATUS_MARKS.get(run.status, '')} {run.status}".strip(),
            run.validation,
            run.test,
            round(run.seconds, 1),
            " ".join(filter(None, [run.finding, run.problem])),
            run.overrides,
        ]
        for run in runs
    ]
    return Table(headers, rows)


def _differing_keys(runs: Sequence[RunRow]) -> set[str]:
    """Return the keys in which not all runs agree; two runs can differ in no other."""
    keys = {key for run in runs for key in run.config}
    return {key for key in keys if len({run.config.get(key) for run in runs}) > 1}


def _to_dict(run: RunRow, keys: set[str]) -> dict[str, object]:
    """Return what compare.js needs to know about a run."""
    return {
        "label": run.label,
        "status": run.status,
        "validation": None if run.validation is None else f"{run.validation:.4f}",
        "test": None if run.test is None else f"{run.test:.4f}",
        "seconds": f"{run.seconds:.1f}",
        "config": {key: value for key, value in run.config.items() if key in keys},
        "curves": {key: round_significant(run.curves[key]) for key in CURVES if run.curves.get(key)},
    }
