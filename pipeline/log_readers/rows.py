"""Logs that are rows of named cells: tables, and lists of dictionaries."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from pipeline.log_readers.columns import Meaning
from pipeline.log_readers.log import Log, Point, StepCounter

STEP_COLUMNS = ("trainer/global_step", "train/global_step", "global_step", "step")
"""Columns of the step, the best first; any other one comes after them, and W&B's own `_step` last."""


def add_rows(log: Log, rows: Iterable[Mapping[str, float]], meanings: Mapping[str, Meaning]) -> int:
    """Add the numbers of each row to the series of their columns, and return how many rows there were.

    A row has the cells that are not empty. Its step, epoch and seconds are those of its own columns; a step that it
    lacks is that of the row before, so that a validation row without one belongs to the steps before it.
    """
    placing = {role: _choose(role, meanings) for role in ("step", "epoch", "seconds")}
    values = [name for name, meaning in meanings.items() if meaning.role not in placing]
    count_step, count = StepCounter(), 0
    step: float | None = None
    for row in rows:
        count += 1
        epoch, seconds, logged = (_first(row, placing[role]) for role in ("epoch", "seconds", "step"))
        step = step if logged is None else count_step(logged, epoch)
        for name in values:
            if name in row:
                log.add(name, Point(row[name], step, epoch, seconds))
    return count


def _first(row: Mapping[str, float], names: Sequence[str]) -> float | None:
    """Return the first finite number under one of the names."""
    return next((row[name] for name in names if name in row and math.isfinite(row[name])), None)


def _choose(role: str, meanings: Mapping[str, Meaning]) -> Sequence[str]:
    """Return the columns of a role, the best first."""
    names = [name for name, meaning in meanings.items() if meaning.role == role]
    rank = {name: i for i, name in enumerate(STEP_COLUMNS)}
    return sorted(names, key=lambda name: rank.get(name, len(rank) + name.startswith("_")))
