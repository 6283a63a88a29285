"""Two curves side by side: their levels over equal stretches of the steps that both have made, with standard errors."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import mean, median
from typing import Any, NamedTuple

from pipeline.checks.log_curves import noise
from pipeline.checks.training_curves import to_floats

STRETCHES = 20
MIN_POINTS = 5
"""Points of a curve in the common range, from which its noise can be estimated."""


@dataclass(frozen=True)
class Curve:
    """Finite values at rising positions: steps, or numbers of epochs."""

    positions: tuple[float, ...]
    values: tuple[float, ...]

    @classmethod
    def of(cls, positions: Sequence[Any], values: Sequence[Any]) -> Curve:
        pairs = zip(to_floats(positions), to_floats(values), strict=False)
        finite = [(p, v) for p, v in pairs if math.isfinite(p) and math.isfinite(v)]
        return cls(tuple(p for p, _ in finite), tuple(v for _, v in finite))

    def until(self, end: float) -> Curve:
        count = bisect_right(self.positions, end)
        return Curve(self.positions[:count], self.values[:count])


class Level(NamedTuple):
    """The mean of a stretch."""

    end: float
    value: float
    error: float


def losses_of(signals: Mapping[str, Any]) -> Curve:
    """Return the training loss by step; empty where the log has no steps."""
    losses, stride = signals.get("losses") or (), int(signals.get("steps_per_entry", 1))
    return Curve.of([(i + 1) * stride for i in range(len(losses))], losses)


def column_of(signals: Mapping[str, Any], name: str, *, by_step: bool) -> Curve:
    """Return a column of `epochs`, by step or by the number of the epoch."""
    epochs = signals.get("epochs") or {}
    values = epochs.get(name) or ()
    return Curve.of(epochs.get("step") or () if by_step else range(1, len(values) + 1), values)


def samples_of(signals: Mapping[str, Any], name: str) -> Curve:
    """Return the learning rate (`lr`) or the norm of the whole gradient (`gradient_norm`) at the sampled steps."""
    samples = signals.get("samples") or {}
    values = samples.get(name) or ()
    if name == "gradient_norm" and not values:
        rows = (samples.get("weights") or {}).get("gradient") or ()
        values = [math.sqrt(sum(value * value for value in to_floats(row))) for row in rows]
    return Curve.of(samples.get("step") or (), values)


def common_pair(new: Curve, good: Curve) -> tuple[Curve, Curve] | None:
    """Return both curves up to where the shorter one ends; None where fewer than `MIN_POINTS` points are left."""
    if not new.positions or not good.positions:
        return None
    end = min(new.positions[-1], good.positions[-1])
    pair = new.until(end), good.until(end)
    return pair if min(len(curve.positions) for curve in pair) >= MIN_POINTS else None


def levels(new: Curve, good: Curve) -> list[tuple[Level, Level]]:
    """Return the levels of both curves in each of at most `STRETCHES` equal stretches in which both have points."""
    end = min(new.positions[-1], good.positions[-1])
    count = min(STRETCHES, len(new.positions), len(good.positions))
    edges = [end * i / count for i in range(count + 1)]
    pairs = [(_level(new, a, b), _level(good, a, b)) for a, b in pairwise(edges)]
    return [(a, b) for a, b in pairs if a is not None and b is not None]


def _level(curve: Curve, begin: float, end: float) -> Level | None:
    first, last = bisect_right(curve.positions, begin), bisect_right(curve.positions, end)
    values = curve.values[first:last]
    if not values:
        return None
    near = values if len(values) >= MIN_POINTS else curve.values[max(0, first - 2) : last + 2]
    return Level(end, mean(values), noise(near) / math.sqrt(len(values)))


def log_ratio(pairs: Sequence[tuple[Level, Level]]) -> tuple[float, float]:
    """Return the median of ln(new / good) over the stretches, and its robust standard error."""
    logs = [math.log(new.value / good.value) for new, good in pairs if new.value > 0 and good.value > 0]
    if len(logs) < MIN_POINTS:
        return 0.0, math.inf
    middle = median(logs)
    return middle, 1.4826 * median(abs(value - middle) for value in logs) / math.sqrt(len(logs))


def epoch_pair(new: Mapping[str, Any], good: Mapping[str, Any], name: str) -> tuple[Curve, Curve] | None:
    """Return a column of `epochs` of both, by step where both count steps."""
    by_step = have_steps(new, good)
    return common_pair(column_of(new, name, by_step=by_step), column_of(good, name, by_step=by_step))


def have_steps(new: Mapping[str, Any], good: Mapping[str, Any]) -> bool:
    """Return whether both count steps; a log of epochs alone has no `losses`."""
    return bool(new.get("losses")) and bool(good.get("losses"))
