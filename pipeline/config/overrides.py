"""Overrides read by Hydra's grammar: `key=value`, `group=option`, and sweeps over several values."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import (
    ChoiceSweep,
    Glob,
    IntervalSweep,
    Override,
    QuotedString,
    RangeSweep,
    Transformer,
)
from hydra.errors import HydraException

from pipeline.config.override_keys import effective_overrides
from pipeline.errors import UserError


def parse_overrides(overrides: Sequence[str]) -> list[Override]:
    """Parse each override. Raises `UserError` for a text that is no override."""
    parser = OverridesParser.create()
    parsed = []
    for text in overrides:
        if "=" not in text and not text.startswith("~"):
            raise UserError(f"{text!r} is neither an option (--help lists them) nor of the form key=value.")
        try:
            override = parser.parse_override(text)
        except HydraException as error:
            reason = str(error).splitlines()[0]
            key, _, value = text.partition("=")
            quoted = f"'{key}=\"{value}\"'"
            hint = f" If the value is one text, quote it twice: {quoted}" if not {'"', "'"} & set(value) else ""
            raise UserError(f"cannot read {text!r}: {reason}. Quote values with spaces or symbols.{hint}") from error
        if not override.key_or_group:
            raise UserError(f"cannot read {text!r}: there is no key before '='.")
        if override.package is not None:
            raise UserError("a package cannot be chosen; leave '@...' out.", field=override.key_or_group)
        parsed.append(override)
    return parsed


def swept_keys(overrides: Sequence[str]) -> list[str]:
    """Return the keys that take several values in a multirun."""
    return [o.key_or_group for o in parse_overrides(effective_overrides(overrides)) if o.is_sweep_override()]


def is_hydra_override(override: Override) -> bool:
    """Return whether the override is about Hydra itself."""
    return override.key_or_group == "hydra" or override.is_hydra_override()


def option_names(override: Override) -> Iterator[str]:
    """Yield every option that the override of a group names: one, a list, or each choice of a sweep.

    Raises `UserError` for a sweep that has no list of options.
    """
    if override.is_sweep_override():
        try:
            values: Iterable[Any] = list(override.sweep_iterator())
        except (ValueError, HydraException) as error:
            raise _not_enumerable(override, str(error)) from error
    else:
        values = [override.value()]
    for value in values:
        for name in value if isinstance(value, list) else [value]:
            yield name.text if isinstance(name, QuotedString) else str(name)


def with_first_value(override: Override) -> str:
    """Return the text of the override, with the first value of its sweep: enough to see whether it composes.

    Raises `UserError` for a sweep without a first value.
    """
    if not override.is_sweep_override():
        return str(override.input_line)
    value: Any = override.value()
    while isinstance(value, ChoiceSweep):  # choices may be nested
        if not value.list:
            raise _not_enumerable(override, "it is empty")
        value = value.list[0]
    if isinstance(value, IntervalSweep):
        text = str(value.start)
    elif isinstance(value, RangeSweep):
        text = str(_first_of_range(override, value))
    elif isinstance(value, Glob):
        raise _not_enumerable(override, "list the values instead of a glob")
    else:
        text = Transformer.str(value)
    sign = "++" if override.is_force_add() else "+" if override.is_add() else ""
    return f"{sign}{override.key_or_group}={text}"


def _first_of_range(override: Override, sweep: RangeSweep) -> float:
    try:
        return next(iter(sweep.range()))
    except StopIteration as error:
        raise _not_enumerable(override, "the range is empty") from error
    except (ValueError, HydraException) as error:  # a step of zero
        raise _not_enumerable(override, str(error)) from error


def _not_enumerable(override: Override, reason: str) -> UserError:
    return UserError(f"{override.input_line!r} cannot be swept here: {reason}.", field=override.key_or_group)
