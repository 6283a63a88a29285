"""Hydra's sweep syntax as parameters: interval, int(interval), tag(log, ...), range, choice, glob and `a,b`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from hydra.core.override_parser.types import (
    ChoiceSweep,
    Glob,
    IntervalSweep,
    Override,
    QuotedString,
    RangeSweep,
)

from pipeline.errors import UserError
from pipeline.search.records import Parameter, Value


def parse_space(overrides: Sequence[Override]) -> tuple[Parameter, ...]:
    """Return a parameter for each override that sweeps; if a key occurs several times, the last one counts.

    Raise `UserError` if no override sweeps, or if a sweep is empty or impossible.
    """
    space = {o.key_or_group: _parse_parameter(o) for o in overrides if o.is_sweep_override()}
    if not space:
        raise UserError(
            "there is nothing to search. Give at least one range, such as "
            "'optimizer.lr=tag(log,interval(0.0001,1))' or 'activation=choice(relu,elu)'.",
            field="search.space",
        )
    return tuple(space.values())


def _parse_parameter(override: Override) -> Parameter:
    key = override.key_or_group
    sign = "++" if override.is_force_add() else "+" if override.is_add() else ""
    sweep = override.value()
    if isinstance(sweep, IntervalSweep):
        return _parse_interval(key, sign, sweep)
    if isinstance(sweep, RangeSweep):
        return _parse_range(key, sign, sweep)
    if isinstance(sweep, Glob):
        values: Iterable[Any] = override.sweep_iterator()
    else:
        assert isinstance(sweep, ChoiceSweep)
        values = _flatten_choices(sweep)
    choices = tuple(_to_value(value, override) for value in values)
    if not choices:
        raise UserError(f"{override.input_line!r} has nothing to choose from.", field=key)
    unique = {(type(choice), choice): choice for choice in choices}  # 1 and true are equal in Python
    return Parameter(key, "choice", choices=tuple(unique.values()), sign=sign)


def _parse_interval(key: str, sign: str, sweep: IntervalSweep) -> Parameter:
    low, high, log = sweep.start, sweep.end, "log" in sweep.tags
    assert low is not None
    assert high is not None
    if not low < high:
        raise UserError(
            f"interval({low:g},{high:g}) is {'empty' if low == high else 'reversed'}: the first number must be less "
            "than the second.",
            field=key,
        )
    if log and low <= 0:
        raise UserError(
            f"interval({low:g},{high:g}) cannot be in log space: it must begin above 0. "
            f"Begin at a small number, such as {high / 1e4:g}, or leave tag(log,...) out.",
            field=key,
        )
    kind = "int" if isinstance(low, int) and isinstance(high, int) else "float"
    return Parameter(key, kind, low=low, high=high, log=log, sign=sign)


def _parse_range(key: str, sign: str, sweep: RangeSweep) -> Parameter:
    values = list(sweep.range())
    if not values:
        raise UserError(f"range({sweep.start},{sweep.stop},{sweep.step}) is empty.", field=key)
    if len(values) == 1:
        return Parameter(key, "choice", choices=(values[0],), sign=sign)
    kind = "int" if all(isinstance(value, int) for value in values) else "float"
    low, high = min(values), max(values)
    return Parameter(key, kind, low=low, high=high, step=abs(values[1] - values[0]), sign=sign)


def _flatten_choices(sweep: ChoiceSweep) -> Iterable[Any]:
    """Yield the choices of `sweep`, and those of choices nested in it."""
    for value in sweep.list or ():
        if isinstance(value, ChoiceSweep):
            yield from _flatten_choices(value)
        else:
            yield value


def _to_value(value: Any, override: Override) -> Value:
    if isinstance(value, QuotedString):
        return value.text
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return Override._get_value_element_as_str(value)  # a list or a dictionary, as it is typed


def to_override(parameter: Parameter, value: Value) -> str:
    """Return the override that sets the parameter to `value`."""
    if value is None or isinstance(value, bool):
        text = {None: "null", True: "true", False: "false"}[value]
    elif isinstance(value, str):
        text = value if _needs_no_quotes(value) else "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
    else:
        text = repr(value)
    return f"{parameter.sign}{parameter.key}={text}"


def _needs_no_quotes(text: str) -> bool:
    """Whether Hydra reads the unquoted text as it is: words, paths, lists and dictionaries."""
    return text[:1] in ("[", "{") or (bool(text) and all(c.isalnum() or c in "_-./+" for c in text))


def midpoint(parameter: Parameter) -> Value:
    """Return a value for a configuration that needs one: the middle of a range, or the first choice."""
    if parameter.kind == "choice":
        return parameter.choices[0]
    return parameter.low if parameter.step else parameter.from_unit(0.5)
