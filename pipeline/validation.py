"""Validate single values of a configuration.

Each function takes the `field` (the key, for the error) and the value, and returns the value in its proper type.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from importlib.util import find_spec
from typing import Any

from pipeline.errors import UserError, did_you_mean


def number(
    field: str,
    value: Any,
    *,
    above: float | None = None,
    at_least: float | None = None,
    below: float | None = None,
    at_most: float | None = None,
    hint: str = "",
) -> float:
    """Return `value` as a float.

    Raises `UserError` unless it is a finite number within the bounds. Booleans, strings, NaN and infinities are
    refused. `hint` is a sentence that the message ends with.
    """
    bounds = _describe_bounds(above, at_least, below, at_most)
    is_number = _is_finite(value) and not isinstance(value, bool)
    expected = bounds.removeprefix(", ") if is_number else "a finite number" + bounds
    if not is_number or not _is_within(value, above, at_least, below, at_most):
        raise UserError(f"{value!r} is not {expected}.{_append(hint)}", field=field)
    return float(value)


def integer(field: str, value: Any, *, at_least: int | None = None, at_most: int | None = None, hint: str = "") -> int:
    """Return `value` as an int.

    Raises `UserError` unless it is a whole number within the bounds. `2.0` is a whole number; booleans and strings are
    refused. `hint` is a sentence that the message ends with.
    """
    bounds = _describe_bounds(None, at_least, None, at_most)
    is_whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    expected = bounds.removeprefix(", ") if is_whole and not isinstance(value, bool) else "a whole number" + bounds
    if isinstance(value, bool) or not is_whole or not _is_within(value, None, at_least, None, at_most):
        raise UserError(f"{value!r} is not {expected}.{_append(hint)}", field=field)
    return int(value)


def numbers(field: str, values: Any, *, above: float | None = None) -> list[float]:
    """Return `values` as a list of floats.

    Raises `UserError` unless it is a list of finite numbers, each of them above `above`.
    """
    if isinstance(values, str) or not isinstance(values, Sequence):
        raise UserError(f"{values!r} is not a list of numbers such as [1, 10, 100].", field=field)
    return [number(field, value, above=above) for value in values]


def boolean(field: str, value: Any, *, hint: str = "") -> bool:
    """Return `value`. Raises `UserError` unless it is true or false; 0, 1 and strings are refused."""
    if not isinstance(value, bool):
        raise UserError(f"{value!r} is not true or false.{_append(hint)}", field=field)
    return value


def one_of(field: str, value: Any, options: Iterable[str]) -> str:
    """Return `value`. Raises `UserError`, with the closest option, unless it is one of the strings `options`."""
    options = list(options)
    if value not in options:
        closest = did_you_mean(str(value), options)
        raise UserError(f"{value!r} is not one of {', '.join(options)}.{closest}", field=field)
    return str(value)


def mapping(field: str, value: Any) -> Mapping[str, Any]:
    """Return `value`. Raises `UserError` unless it is a mapping of keys to values."""
    if not isinstance(value, Mapping):
        raise UserError(f"expected a mapping, got {value!r}.", field=field)
    return value


def require_package(package: str, *, extra: str, field: str = "") -> None:
    """Raise `UserError` with the command that installs `package` unless it is installed. Nothing is imported.

    `extra` is the optional dependency group of this program that has the package. `field` is the key that needs it,
    seen from the node that is being built; by default the node itself.
    """
    if find_spec(package) is None:
        raise UserError(
            f"needs the package {package}. Install it: pip install 'staged-training-pipeline[{extra}]'", field=field
        )


def _is_finite(value: Any) -> bool:
    try:
        return isinstance(value, (int, float)) and math.isfinite(value)
    except OverflowError:  # a whole number beyond the largest float
        return False


def _is_within(value: float, above: Any, at_least: Any, below: Any, at_most: Any) -> bool:
    return (
        (above is None or value > above)
        and (at_least is None or value >= at_least)
        and (below is None or value < below)
        and (at_most is None or value <= at_most)
    )


def _describe_bounds(above: Any, at_least: Any, below: Any, at_most: Any) -> str:
    """Return the bounds as `, above 0 and at most 1`, or "" without bounds."""
    bounds = [("above", above), ("at least", at_least), ("below", below), ("at most", at_most)]
    texts = [
        f"{relation} {bound if isinstance(bound, int) else format(bound, 'g')}"
        for relation, bound in bounds
        if bound is not None
    ]
    return (", " + " and ".join(texts)) if texts else ""


def _append(hint: str) -> str:
    return f" {hint}" if hint else ""
