"""The part of sampling that needs no Optuna: points of a grid, rounded values, seeds of rounds."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pipeline.search.records import Parameter, Value

ActiveParameters = Callable[[Sequence[Parameter], Mapping[str, Value]], Sequence[Parameter]]
"""A function that returns those of the parameters that a trial with the given values has.

An option of a group may have keys that other options lack. As long as the options are not chosen, the function returns
them alone.
"""

SIGNIFICANT_DIGITS = 6
"""Digits of a sampled number: enough to tell trials apart, few enough to read and to type."""
UNLIMITED = 2**31
"""Number of values of a continuous range, for the purpose of a grid."""


def all_parameters(parameters: Sequence[Parameter], params: Mapping[str, Value]) -> Sequence[Parameter]:
    """Return all `parameters`: no parameter depends on another."""
    return parameters


def derive_seed(seed: int, round_index: int) -> int:
    """Return the seed of one round's sampler."""
    return random.Random(f"{seed}/{round_index}").randrange(2**31)


def grid_points(parameters: tuple[Parameter, ...], n: int) -> list[dict[str, Value]]:
    """Return at most `n` points, evenly spaced in each parameter.

    The grid has every choice, and as many levels of each range as fit.
    """
    levels = [_count_values(p) if p.kind == "choice" or p.step else 1 for p in parameters]
    growing = [i for i, p in enumerate(parameters) if p.kind != "choice" and not p.step]
    while growing:
        i = min(growing, key=lambda i: levels[i])
        candidate = [level + (i == j) for j, level in enumerate(levels)]
        if math.prod(candidate) > n or levels[i] >= _count_values(parameters[i]):
            growing.remove(i)
        else:
            levels = candidate
    axes = [_levels(p, k) for p, k in zip(parameters, levels, strict=True)]
    points = [dict(zip((p.key for p in parameters), point, strict=True)) for point in itertools.product(*axes)]
    return [points[i * len(points) // n] for i in range(n)] if len(points) > n else points


def remove_duplicates(points: Sequence[dict[str, Value]]) -> list[dict[str, Value]]:
    """Return each point once, in order. Values of different types differ (1 and true are equal in Python)."""
    keyed = {tuple((key, type(value), value) for key, value in params.items()): params for params in points}
    return list(keyed.values())


def round_value(parameter: Parameter, value: Any) -> Value:
    """Return a sampled value with `SIGNIFICANT_DIGITS` digits, inside the range."""
    if parameter.kind != "float":
        return value
    if parameter.step:
        return float(f"{value:.12g}")
    return min(max(float(f"{value:.{SIGNIFICANT_DIGITS}g}"), parameter.low), parameter.high)


def _count_values(parameter: Parameter) -> int:
    if parameter.kind == "choice":
        return len(parameter.choices)
    if parameter.step:
        return round((parameter.high - parameter.low) / parameter.step) + 1
    return int(parameter.high - parameter.low) + 1 if parameter.kind == "int" else UNLIMITED


def _levels(parameter: Parameter, k: int) -> list[Value]:
    if parameter.kind == "choice":
        return list(parameter.choices)
    positions = [0.5] if k == 1 else [i / (k - 1) for i in range(k)]
    return list(dict.fromkeys(round_value(parameter, parameter.from_unit(position)) for position in positions))
