"""Validate single values: each function returns the value in its proper type, or raises a `UserError` that names the field."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
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
    """A finite number inside the bounds, as float. Booleans, strings, NaN and infinities are refused."""
    allowed = "a finite number" + _bounds(above, at_least, below, at_most)
    if isinstance(value, bool) or not _finite(value) or _outside(value, above, at_least, below, at_most):
        raise UserError(f"{value!r} is not {allowed}.{_sentence(hint)}", field=field)
    return float(value)


def integer(field: str, value: Any, *, at_least: int | None = None, at_most: int | None = None, hint: str = "") -> int:
    """A whole number inside the bounds, as int. `2.0` counts as whole; booleans and strings do not."""
    allowed = "a whole number" + _bounds(None, at_least, None, at_most)
    is_whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    if isinstance(value, bool) or not is_whole or _outside(value, None, at_least, None, at_most):
        raise UserError(f"{value!r} is not {allowed}.{_sentence(hint)}", field=field)
    return int(value)


def numbers(field: str, values: Any, *, above: float | None = None) -> list[float]:
    """A list of finite numbers."""
    if isinstance(values, str) or not isinstance(values, Sequence):
        raise UserError(f"{values!r} is not a list of numbers such as [1, 10, 100].", field=field)
    return [number(field, value, above=above) for value in values]


def boolean(field: str, value: Any, *, hint: str = "") -> bool:
    """`true` or `false`."""
    if not isinstance(value, bool):
        raise UserError(f"{value!r} is not true or false.{_sentence(hint)}", field=field)
    return value


def one_of(field: str, value: Any, options: Iterable[str]) -> str:
    """One of a few words."""
    options = list(options)
    if value not in options:
        meant = did_you_mean(str(value), options)
        raise UserError(f"{value!r} is not one of {', '.join(options)}.{meant}", field=field)
    return str(value)


def require_package(package: str, *, extra: str, field: str = "") -> None:
    """Raises `UserError` where `package` is not installed, with the command that installs it. Imports nothing.

    `field` is the key that asked for it; by default the whole node that is being built.
    """
    if find_spec(package) is None:
        raise UserError(
            f"needs the package {package}. Install it: pip install 'staged-training-pipeline[{extra}]'", field=field
        )


def _finite(value: Any) -> bool:
    try:
        return isinstance(value, (int, float)) and math.isfinite(value)
    except OverflowError:  # a whole number beyond the largest float
        return False


def _outside(value: float, above: Any, at_least: Any, below: Any, at_most: Any) -> bool:
    return (
        (above is not None and not value > above)
        or (at_least is not None and not value >= at_least)
        or (below is not None and not value < below)
        or (at_most is not None and not value <= at_most)
    )


def _bounds(above: Any, at_least: Any, below: Any, at_most: Any) -> str:
    named = [("above", above), ("at least", at_least), ("below", below), ("at most", at_most)]
    limits = [
        (word, str(bound) if isinstance(bound, int) else f"{bound:g}") for word, bound in named if bound is not None
    ]
    words = [f"{word} {limit}" for word, limit in limits]
    return (", " + " and ".join(words)) if words else ""


def _sentence(hint: str) -> str:
    return f" {hint}" if hint else ""
