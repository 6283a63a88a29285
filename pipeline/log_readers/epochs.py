"""The table `epochs` of a log: one row for each validation, else for each epoch, else for stretches of the steps."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from pipeline.log_readers.log import Point, Series

STRETCHES = 20
"""Rows where a log has neither validations nor epochs."""
SCORES = ("val_loss", "val_accuracy", "probe_loss", "probe_accuracy", "seconds")
ANCHORS = ("val_loss", "val_accuracy", "loss.epoch", "accuracy.epoch")
"""Series that have one number for each epoch, or for each validation."""


def epoch_table(chosen: Mapping[str, Series], *, steps_per_epoch: int | None) -> tuple[dict[str, Any], list[str]]:
    """Return the table, and notes on how it was made.

    `steps_per_epoch` is given where the positions in the log are epochs and the number of their steps is known.
    """
    anchors = next((chosen[role].points for role in ANCHORS if role in chosen), [])
    notes = []
    losses = chosen.get("loss.step", Series()).points
    if not anchors and any(point.epoch is not None for point in losses):
        anchors = _last_of_each_epoch(losses)
    if not anchors and losses:
        count = min(STRETCHES, len(losses))
        anchors = [losses[(i + 1) * len(losses) // count - 1] for i in range(count)]
        notes.append(f"it has no epochs; {count} equal stretches of it count as such")
    if not anchors or any(point.position is None for point in anchors):
        return {}, notes
    ends = [float(point.position or 0.0) for point in anchors]
    table: dict[str, Any] = {"epoch": list(range(len(ends)))}
    table["step"] = [(i + 1) * steps_per_epoch for i in range(len(ends))] if steps_per_epoch else ends
    table |= {role: _means(chosen, role, ends) for role in ("loss", "accuracy")}
    table |= {role: _last_until(chosen[role].points, ends) for role in (*SCORES, "lr") if role in chosen}
    if seconds := [point.seconds for point in anchors if point.seconds is not None]:
        table.setdefault("seconds", _elapsed(seconds))
    return {key: values for key, values in table.items() if any(value is not None for value in values)}, notes


def _means(chosen: Mapping[str, Series], role: str, ends: Sequence[float]) -> list[float | None]:
    """Return the logged mean of each epoch, else the mean of its steps."""
    logged = chosen[f"{role}.epoch"].points if f"{role}.epoch" in chosen else []
    if logged:
        return _last_until(logged, ends)
    points = chosen[f"{role}.step"].points if f"{role}.step" in chosen else []
    places = [float(point.position or 0.0) for point in points]
    means: list[float | None] = []
    for begin, end in zip([-math.inf, *ends[:-1]], ends, strict=True):
        values = [point.value for point in points[bisect_right(places, begin) : bisect_right(places, end)]]
        means.append(sum(values) / len(values) if values else None)
    return means


def _last_until(points: Sequence[Point], ends: Sequence[float]) -> list[float | None]:
    """Return the last value up to the end of each epoch; where there is none yet, the first one."""
    places = [float(point.position or 0.0) for point in points]
    if not points:
        return [None] * len(ends)
    return [points[max(bisect_right(places, end) - 1, 0)].value for end in ends]


def _last_of_each_epoch(points: Sequence[Point]) -> list[Point]:
    """Return the last point of each epoch that has one: of the whole number that its epoch begins with."""
    numbers = [math.ceil(point.epoch) if point.epoch is not None else -1 for point in points]
    return [points[bisect_left(numbers, number + 1) - 1] for number in sorted(set(numbers)) if number >= 0]


def _elapsed(seconds: Sequence[float]) -> list[float]:
    """Return the seconds since the start: a clock that only rises is one, anything else are durations."""
    rises = all(b >= a for a, b in pairwise(seconds))
    if rises and len(seconds) > 1:
        return [value - seconds[0] for value in seconds]
    total, elapsed = 0.0, []
    for value in seconds:
        total += value
        elapsed.append(total)
    return elapsed
