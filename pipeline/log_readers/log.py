"""What every reader returns: the series of numbers in a log, ordered by step, and what was passed over."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

MAX_POINTS = 200_000
"""Points of a series that are kept; a longer one is averaged over equal numbers of points."""


class Point(NamedTuple):
    """A logged number and where it was logged; None where the log does not say."""

    value: float
    step: float | None = None
    epoch: float | None = None
    seconds: float | None = None

    @property
    def position(self) -> float | None:
        """The step, else the epoch."""
        return self.epoch if self.step is None else self.step


class Series:
    """The points of one column, in the order of their steps."""

    def __init__(self) -> None:
        self.points: list[Point] = []
        self.stride = 1
        self.replaced = 0
        """Points that a restarted training logged again."""
        self._pending: list[Point] = []

    def add(self, point: Point) -> None:
        """Append a point. A step that was logged before means a restart: what was logged from there on is dropped."""
        if self.points or self._pending:
            self._drop_from(point.position)
        self._pending.append(point)
        if len(self._pending) == self.stride:
            self._flush()
        if len(self.points) >= 2 * MAX_POINTS:
            self.points = [_average(self.points[i : i + 2]) for i in range(0, len(self.points), 2)]
            self.stride *= 2

    def finish(self) -> Series:
        """Take in the last points, and leave out each NaN that stands for an empty cell. Returns the series."""
        if self._pending:
            self._flush()
        values = [point.value for point in self.points]
        if any(map(math.isnan, values)):
            real = _real_nans(values)
            self.points = [point for i, point in enumerate(self.points) if i >= real or not math.isnan(point.value)]
        return self

    def _flush(self) -> None:
        self.points.append(self._pending[0] if self.stride == 1 else _average(self._pending))
        self._pending = []

    def _drop_from(self, position: float | None) -> None:
        last = (self._pending or self.points)[-1].position
        if position is None or last is None or position > last:
            return
        for points in (self._pending, self.points):
            while points and (points[-1].position or 0.0) >= position:
                points.pop()
                self.replaced += 1


@dataclass
class Log:
    """A log as it was read: its series by column, and what it says about the training."""

    kind: str
    """What wrote it, for messages: `TensorBoard events`."""
    path: Path
    series: dict[str, Series] = field(default_factory=dict)
    passed_over: dict[str, str] = field(default_factory=dict)
    """Columns or files that were not read -> why."""
    notes: list[str] = field(default_factory=list)
    epochs_planned: int | None = None
    train_examples: int | None = None
    val_examples: int | None = None

    def add(self, name: str, point: Point) -> None:
        """Append a point to the series `name`."""
        if name not in self.series:
            self.series[name] = Series()
        self.series[name].add(point)

    def pass_over(self, names: Iterable[str]) -> None:
        """Note columns that mean nothing to the checks."""
        self.passed_over |= dict.fromkeys(names, "no loss, accuracy, rate or time")

    def finish(self) -> Log:
        """Finish every series, and leave out the empty ones. Returns the log."""
        self.series = {name: series for name, series in self.series.items() if series.finish().points}
        if replaced := sum(series.replaced for series in self.series.values()):
            self.notes.append(f"{replaced} numbers were logged again after a restart; the later ones count")
        return self


class StepCounter:
    """Steps that count on through the epochs, where a log numbers the batches of each epoch from the start."""

    def __init__(self) -> None:
        self._offset = self._last = 0.0
        self._epoch: float | None = None
        self._start: float | None = None

    def __call__(self, step: float | None, epoch: float | None) -> float | None:
        """Return the step since the start of the training."""
        if step is None:
            return None
        if self._start is None:
            self._start = step
        if epoch is not None and self._epoch is not None and epoch > self._epoch and step < self._last:
            self._offset += self._last + (1 if self._start == 0 else 0)
        self._last, self._epoch = step, self._epoch if epoch is None else epoch
        return step + self._offset


def _average(points: list[Point]) -> Point:
    """Return the mean of the values at the place of the last point."""
    return points[-1]._replace(value=sum(point.value for point in points) / len(points))


def _real_nans(values: list[float]) -> int:
    """Return from which index on NaN is a measured number and no empty cell.

    A loss that became NaN stays so. NaNs between numbers are cells that this row does not fill, and then so are as many
    at the end.
    """
    runs: list[int] = []
    length = 0
    for value in values:
        if math.isnan(value):
            length += 1
        elif length:
            runs, length = [*runs, length], 0
    return len(values) - length if length > max(runs, default=0) else len(values)


def finite(points: list[Point]) -> Iterator[Point]:
    """Yield the points with a finite value."""
    return (point for point in points if math.isfinite(point.value))
