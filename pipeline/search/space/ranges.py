"""Changes of one parameter's range: widened beyond an edge, or narrowed to the good trials."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Literal

from pipeline.search.records import Parameter, RangeChange, Trial

WIDENING_DECADES = 1, 2
"""Decades by which a range in log space is widened for the first time, and for any further time to the same side.

With more decades most trials of a round lie where every training breaks, and few good rates remain.
"""
MARGIN = 0.1
"""Fraction of the span of the good trials that is added on both sides."""
MIN_WIDTH = 0.1
"""Least width of a narrowed range, as a fraction of the last. That a few trials lie closer together is chance."""


def can_widen(parameter: Parameter, side: str) -> bool:
    """Whether values beyond the `side` (`low` or `high`) of the range are possible."""
    low, high = _limits(parameter)
    return parameter.high < high if side == "high" else parameter.low > low


def keep(parameter: Parameter) -> tuple[Parameter, RangeChange]:
    """Return the range as it is."""
    return parameter, RangeChange(parameter.key, "kept", "", f"{parameter.key}: kept at {format_range(parameter)}")


def widen(parameter: Parameter, side: str, *, again: bool) -> tuple[Parameter, RangeChange]:
    """Return the range moved beyond its `side`.

    A range in log space grows by the first of `WIDENING_DECADES`, or by the second if it was widened to that side
    before (`again`); a range of whole numbers always by the first, since the cost of a trial grows with a width. Other
    ranges grow by their own width. The quarter at that side is kept, so that the good trials have neighbours on both
    sides.
    """
    width = parameter.high - parameter.low
    minimum, maximum = _limits(parameter)
    if parameter.log:
        factor = 10.0 ** WIDENING_DECADES[again and parameter.kind != "int"]
        low = parameter.from_unit(0.75) if side == "high" else parameter.low / factor
        high = parameter.high * factor if side == "high" else parameter.from_unit(0.25)
    else:
        low = parameter.from_unit(0.75) if side == "high" else parameter.low - width
        high = parameter.high + width if side == "high" else parameter.from_unit(0.25)
    wide = _with_bounds(parameter, max(low, minimum), min(high, maximum))
    message = (
        f"{parameter.key}: widened to {format_range(wide)}, since the best trials lie at the {side} edge of "
        f"{format_range(parameter)} or beyond it"
    )
    return wide, RangeChange(parameter.key, "widened", side, message)


def narrow(
    parameter: Parameter, good_trials: Sequence[Trial], explored: Parameter
) -> tuple[Parameter | None, RangeChange]:
    """Return the range around `good_trials`, or None if none of them has the parameter.

    `explored` is the parameter over all ranges so far. Choices that no good trial has are dropped.
    """
    values = [trial.params[parameter.key] for trial in good_trials if parameter.key in trial.params]
    if not values:
        return None, RangeChange(
            parameter.key, "dropped", "", f"{parameter.key}: dropped, since no good trial has this key"
        )
    if parameter.kind == "choice":
        return _narrow_choices(parameter, values)
    positions = [explored.to_unit(value) for value in values]
    last_width = explored.to_unit(parameter.high) - explored.to_unit(parameter.low)
    span = max(positions) - min(positions)
    margin = max(MARGIN * span, (MIN_WIDTH * last_width - span) / 2)
    low, high = max(0.0, min(positions) - margin), min(1.0, max(positions) + margin)
    narrowed = _with_bounds(parameter, explored.from_unit(low), explored.from_unit(high))
    side = next((side for side in ("low", "high") if getattr(narrowed, side) == getattr(explored, side)), "")
    message = f"{parameter.key}: narrowed from {format_range(explored)} to {format_range(narrowed)}"
    return narrowed, RangeChange(parameter.key, "narrowed", side, message)


def format_range(parameter: Parameter) -> str:
    """Return the range as text."""
    return f"{parameter.low:.3g} .. {parameter.high:.3g}"


def _narrow_choices(parameter: Parameter, values: Sequence[object]) -> tuple[Parameter, RangeChange]:
    remaining = tuple(choice for choice in parameter.choices if choice in values)
    kind = "narrowed" if len(remaining) < len(parameter.choices) else "kept"
    names = ", ".join(str(choice) for choice in remaining)
    message = f"{parameter.key}: narrowed to {names}" if kind == "narrowed" else f"{parameter.key}: kept {names}"
    return dataclasses.replace(parameter, choices=remaining), RangeChange(parameter.key, kind, "", message)


def _limits(parameter: Parameter) -> tuple[float, float]:
    """Return the limits of widening: zero, and one for a fraction such as dropout or momentum."""
    if parameter.log:
        return (1 if parameter.kind == "int" else 0.0), math.inf
    low = min(1.0, parameter.low) if parameter.low >= 0 else -math.inf
    low = 0.0 if parameter.kind == "float" and parameter.low >= 0 else low
    is_fraction = parameter.kind == "float" and parameter.low >= 0 and parameter.high <= 1
    return low, 1.0 if is_fraction else math.inf


def _with_bounds(parameter: Parameter, low: float, high: float) -> Parameter:
    """Return the parameter with new bounds, rounded outwards to three digits or to whole steps."""
    if parameter.step:
        origin, step = parameter.low, parameter.step
        low = origin + math.floor((low - origin) / step + 1e-9) * step
        high = origin + math.ceil((high - origin) / step - 1e-9) * step
        low, high = float(f"{low:.12g}"), float(f"{high:.12g}")
    elif parameter.kind == "float":
        low, high = _round_outwards(low, "down"), _round_outwards(high, "up")
    if parameter.kind == "int":
        low, high = math.floor(low), math.ceil(high)
    return dataclasses.replace(parameter, low=low, high=high)


def _round_outwards(value: float, direction: Literal["down", "up"]) -> float:
    if value == 0 or not math.isfinite(value):
        return value
    scale = 10.0 ** (2 - math.floor(math.log10(abs(value))))
    rounded = math.ceil(value * scale - 1e-9) if direction == "up" else math.floor(value * scale + 1e-9)
    return float(f"{rounded / scale:.6g}")
