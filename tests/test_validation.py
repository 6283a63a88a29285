"""Single values of a configuration."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest

from pipeline import validation
from pipeline.errors import UserError

NAN, INF = math.nan, math.inf


def message(check: Callable[..., Any], value: Any, *args: Any, **bounds: Any) -> str:
    """Return the message of the error, which names the field and what was received."""
    with pytest.raises(UserError) as error:
        check("width", value, *args, **bounds)
    assert error.value.field == "width"
    assert repr(value) in error.value.message
    return error.value.message


@pytest.mark.parametrize("value", [0, -3, 2.5, 1e-300, 2**64])
def test_number(value: float) -> None:
    result = validation.number("width", value)
    assert result == value
    assert type(result) is float


def test_not_a_number() -> None:
    for value in (NAN, INF, -INF, True, False, "1", "nan", "", None, [1.0], (1,), {}, 1j, Fraction(1), 10**400):
        message(validation.number, value)


@pytest.mark.parametrize(
    ("bounds", "inside", "outside", "words"),
    [
        ({"above": 0}, [1e-12, 5], [0, -1e-12], "above 0"),
        ({"at_least": 0}, [0, 1e-12], [-1e-12], "at least 0"),
        ({"below": 1}, [1 - 1e-12, -5], [1, 1 + 1e-12], "below 1"),
        ({"at_most": 1}, [1, -5], [1 + 1e-12], "at most 1"),
        ({"at_least": 0, "below": 1}, [0, 0.5], [-0.1, 1], "at least 0 and below 1"),
        ({"above": 0, "at_most": 1}, [0.5, 1], [0, 1.1], "above 0 and at most 1"),
    ],
)
def test_bounds_of_number(bounds: dict[str, Any], inside: list[float], outside: list[float], words: str) -> None:
    for value in inside:
        assert validation.number("width", value, **bounds) == value
    for value in [*outside, NAN]:
        assert words in message(validation.number, value, **bounds)


def test_numbers() -> None:
    assert validation.numbers("width", [1, 2.5, 100], above=0) == [1.0, 2.5, 100.0]
    assert validation.numbers("width", (-1,)) == [-1.0]
    assert all(type(value) is float for value in validation.numbers("width", [1, 2]))


def test_not_numbers() -> None:
    for values in ("123", 3, None, {1: 2}, {1, 2}):
        message(validation.numbers, values)
    for wrong in (0, -1, NAN, INF, True, "1", None, [1]):
        with pytest.raises(UserError) as error:
            validation.numbers("width", [1, wrong, 2], above=0)
        assert error.value.field == "width"
        assert error.value.message.startswith(repr(wrong))


@pytest.mark.parametrize("value", [0, -3, 7, 2.0, -0.0, 10**30])
def test_integer(value: float) -> None:
    result = validation.integer("width", value)
    assert result == value
    assert type(result) is int


def test_not_an_integer() -> None:
    for value in (2.5, NAN, INF, -INF, True, False, "1", "", None, [1], 1j, Fraction(1)):
        message(validation.integer, value)


@pytest.mark.parametrize(
    ("bounds", "inside", "outside", "words"),
    [
        ({"at_least": 1}, [1, 1.0, 2], [0, 0.0, -1], "at least 1"),
        ({"at_most": 8}, [8, 8.0, -1], [9, 9.0], "at most 8"),
        ({"at_least": 2, "at_most": 3}, [2, 3], [1, 4], "at least 2 and at most 3"),
    ],
)
def test_bounds_of_integer(bounds: dict[str, Any], inside: list[float], outside: list[float], words: str) -> None:
    for value in inside:
        assert validation.integer("width", value, **bounds) == value
    for value in outside:
        assert words in message(validation.integer, value, **bounds)


@pytest.mark.parametrize("bound", [2**63 - 1, 1_234_567])
def test_large_bound(bound: int) -> None:
    """A bound is printed with all its digits."""
    assert str(bound) in message(validation.integer, bound + 1, at_most=bound)


def test_boolean() -> None:
    assert validation.boolean("width", True) is True
    assert validation.boolean("width", False) is False
    for value in (0, 1, 1.0, "true", "false", "yes", "", None, [], NAN):
        message(validation.boolean, value)


def test_one_of() -> None:
    assert validation.one_of("width", "epoch", ("step", "epoch")) == "epoch"
    assert validation.one_of("width", "epoch", iter(["step", "epoch"])) == "epoch"
    assert "'epoch'" in message(validation.one_of, "epochs", ("step", "epoch"))
    assert "step, epoch" in message(validation.one_of, "never", ("step", "epoch"))


def test_not_one_of() -> None:
    for value in (True, 1, NAN, None, [], ["step"], {}, "Step", "ste", ""):
        message(validation.one_of, value, ("step", "True", "1", "nan", "None"))


def test_mapping() -> None:
    node = {"a": 1}
    assert validation.mapping("width", node) is node
    for value in (5, "he", None, [1], [("a", 1)]):
        message(validation.mapping, value)


def test_require_package() -> None:
    validation.require_package("pytest", extra="dev")
    with pytest.raises(UserError) as error:
        validation.require_package("no_such_package", extra="loggers", field="logger")
    assert error.value.field == "logger"
    assert "no_such_package" in error.value.message
    assert "[loggers]" in error.value.message


@pytest.mark.parametrize(
    ("check", "wrong"), [(validation.number, NAN), (validation.integer, 1.5), (validation.boolean, 1)]
)
def test_hint_is_last(check: Callable[..., Any], wrong: Any) -> None:
    assert message(check, wrong, hint="Try 16.").endswith(". Try 16.")
