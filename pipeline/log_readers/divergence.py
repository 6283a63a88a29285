"""Where a logged training exploded or became NaN, as seen from its end.

The pipeline ends a training whose loss exceeds three times its first. Another program went on, so the log shows more:
a peak from which the loss came back was no explosion.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean as mean
from statistics import median
from typing import Any

from pipeline.log_readers.log import Point, Series, finite
from pipeline.signals.explosion import BREAK_FACTOR

MAX_GROUPS = 500
"""Means of a longer log's losses that are looked at, since the search takes the square of their number."""
SHORT_TAIL = 8
"""Entries below which a quartile does not tell a level from a peak."""
OUTLIER = 8
"""Robust standard deviations above the median; the losses of single examples have tails of 5 and more."""
NAMES = {
    "loss.step": "the loss",
    "loss.epoch": "the loss",
    "grad_norm": "the gradient norm",
    "val_loss": "the validation loss",
}


def divergence_signals(chosen: Mapping[str, Series]) -> dict[str, Any]:
    """Return `exploded` with its evidence, `nonfinite` and `nonfinite_step`; {} where nothing was logged that tells."""
    if not any(role in chosen for role in NAMES):
        return {}
    signals: dict[str, Any] = {"exploded": False, "nonfinite": []}
    for role, name in NAMES.items():
        points = chosen[role].points if role in chosen else []
        index = _nonfinite_from(points)
        if index is not None and name not in signals["nonfinite"]:
            signals["nonfinite"].append(name)
            signals.setdefault("nonfinite_step", _step(points[index], index))
    for role in ("loss.step", "loss.epoch"):
        points = list(finite(chosen[role].points)) if role in chosen else []
        stride = -(-len(points) // MAX_GROUPS) or 1
        means = [mean(point.value for point in points[i : i + stride]) for i in range(0, len(points), stride)]
        if (index := explosion_index(means)) is not None:
            step = _step(points[index * stride], index)
            evidence = {"exploded_cost": means[index], "exploded_step": step, "original_cost": means[0]}
            return signals | {"exploded": True, "break_factor": BREAK_FACTOR} | evidence
    return signals


def explosion_index(losses: Sequence[float]) -> int | None:
    """Return the first of `losses` above `BREAK_FACTOR` times the first, if the loss never comes back; else None.

    It came back unless three quarters of all that follow are above that limit, and above that of the median before. At
    the very end, where fewer than `SHORT_TAIL` follow, all of them must be outliers of what came before, too.
    """
    limit = _limit(losses[0]) if losses else 0.0
    for index in range(1, len(losses)):
        if not losses[index] > limit:
            continue
        before, tail = losses[:index], sorted(losses[index:])
        middle = median(before)
        lowest = tail[len(tail) // 4] if len(tail) >= SHORT_TAIL else tail[0]
        if lowest <= max(limit, _limit(middle)):
            continue
        spread = 1.4826 * median(abs(loss - middle) for loss in before)
        if len(tail) >= SHORT_TAIL or lowest > middle + OUTLIER * spread:
            return index
    return None


def _limit(loss: float) -> float:
    """Return `BREAK_FACTOR` times a positive loss; a loss below zero counts by its size."""
    return loss + (BREAK_FACTOR - 1) * abs(loss)


def _nonfinite_from(points: Sequence[Point]) -> int | None:
    """Return the first point from which on none is finite, or None. One that is followed by a number did no harm."""
    count = next((n for n, point in enumerate(reversed(points)) if math.isfinite(point.value)), len(points))
    return len(points) - count if count else None


def _step(point: Point, index: int) -> int:
    return int(point.position if point.position is not None else index)
