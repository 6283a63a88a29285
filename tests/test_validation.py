from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest

from pipeline import validation
from pipeline.errors import UserError

NAN, INF = math.nan, math.inf


def complaint(check: Callable[..., Any], value: Any, *args: Any, **bounds: Any) -> str:
    with pytest.raises(UserError) as error:
        check("width", value, *args, **bounds)
    assert error.value.field == "width"
    assert repr(value) in error.value.message  # what was received
    return error.value.message


@pytest.mark.parametrize("value", [0, -3, 2.5, 1e-300, 2**64])
def test_real_gives_a_float(value: float) -> None:
    given = validation.number("width", value)
    assert given == value
    assert type(given) is float


@pytest.mark.parametrize("value", [NAN, INF, -INF, True, False, "1", "nan", "", None, [1.0], (1,), {}, 1j, Fraction(1)])
def test_real_refuses_what_is_no_finite_number(value: Any) -> None:
    assert "a finite number" in complaint(validation.number, value)


def test_real_refuses_what_is_too_large_for_a_float() -> None:
    assert "a finite number" in complaint(validation.number, 10**400)


@pytest.mark.parametrize(
    ("bounds", "inside", "outside", "said"),
    [
        ({"above": 0}, [1e-12, 5], [0, -1e-12], "above 0"),
        ({"at_least": 0}, [0, 1e-12], [-1e-12], "at least 0"),
        ({"below": 1}, [1 - 1e-12, -5], [1, 1 + 1e-12], "below 1"),
        ({"at_most": 1}, [1, -5], [1 + 1e-12], "at most 1"),
        ({"at_least": 0, "below": 1}, [0, 0.5], [-0.1, 1], "at least 0 and below 1"),
        ({"above": 0, "at_most": 1}, [0.5, 1], [0, 1.1], "above 0 and at most 1"),
    ],
)
def test_bounds_of_real(bounds: dict[str, Any], inside: list[float], outside: list[float], said: str) -> None:
    for value in inside:
        assert validation.number("width", value, **bounds) == value
    for value in [*outside, NAN]:
        assert complaint(validation.number, value, **bounds) == f"{value!r} is not a finite number, {said}."


def test_reals_gives_floats_in_order() -> None:
    assert validation.numbers("width", [1, 2.5, 100], above=0) == [1.0, 2.5, 100.0]
    assert validation.numbers("width", (-1,)) == [-1.0]
    assert all(type(value) is float for value in validation.numbers("width", [1, 2]))


@pytest.mark.parametrize("values", ["123", 3, None, {1: 2}, {1, 2}])
def test_reals_refuses_what_is_no_list(values: Any) -> None:
    assert "a list of numbers" in complaint(validation.numbers, values)


@pytest.mark.parametrize("wrong", [0, -1, NAN, INF, True, "1", None, [1]])
def test_reals_names_the_one_that_is_wrong(wrong: Any) -> None:
    with pytest.raises(UserError) as error:
        validation.numbers("width", [1, wrong, 2], above=0)
    assert error.value.field == "width"
    assert error.value.message == f"{wrong!r} is not a finite number, above 0."


@pytest.mark.parametrize("value", [0, -3, 7, 2.0, -0.0, 10**30])
def test_whole_gives_an_int(value: float) -> None:
    given = validation.integer("width", value)
    assert given == value
    assert type(given) is int


@pytest.mark.parametrize("value", [2.5, NAN, INF, -INF, True, False, "1", "", None, [1], 1j, Fraction(1)])
def test_whole_refuses_what_is_no_whole_number(value: Any) -> None:
    assert "a whole number" in complaint(validation.integer, value)


@pytest.mark.parametrize(
    ("bounds", "inside", "outside", "said"),
    [
        ({"at_least": 1}, [1, 1.0, 2], [0, 0.0, -1], "at least 1"),
        ({"at_most": 8}, [8, 8.0, -1], [9, 9.0], "at most 8"),
        ({"at_least": 2, "at_most": 3}, [2, 3], [1, 4], "at least 2 and at most 3"),
    ],
)
def test_bounds_of_whole(bounds: dict[str, Any], inside: list[float], outside: list[float], said: str) -> None:
    for value in inside:
        assert validation.integer("width", value, **bounds) == value
    for value in outside:
        assert complaint(validation.integer, value, **bounds) == f"{value!r} is not a whole number, {said}."


@pytest.mark.parametrize("bound", [2**63 - 1, 1_234_567])
def test_a_whole_bound_is_said_in_full(bound: int) -> None:
    assert f"at most {bound}." in complaint(validation.integer, bound + 1, at_most=bound)


@pytest.mark.parametrize("value", [True, False])
def test_flag_gives_the_bool(value: bool) -> None:
    assert validation.boolean("width", value) is value


@pytest.mark.parametrize("value", [0, 1, 1.0, "true", "false", "yes", "", None, [], NAN])
def test_flag_refuses_everything_else(value: Any) -> None:
    assert complaint(validation.boolean, value) == f"{value!r} is not true or false."


def test_choice_gives_the_word() -> None:
    assert validation.one_of("width", "epoch", ("step", "epoch")) == "epoch"
    assert validation.one_of("width", "epoch", iter(["step", "epoch"])) == "epoch"


def test_choice_lists_the_words_and_names_the_nearest() -> None:
    assert complaint(validation.one_of, "epochs", ("step", "epoch")) == (
        "'epochs' is not one of step, epoch. Did you mean 'epoch'?"
    )
    assert complaint(validation.one_of, "never", ("step", "epoch")) == "'never' is not one of step, epoch."


@pytest.mark.parametrize("value", [True, 1, NAN, None, [], ["step"], {}, "Step", "ste", ""])
def test_choice_takes_exact_words_only(value: Any) -> None:
    complaint(validation.one_of, value, ("step", "True", "1", "nan", "None"))


@pytest.mark.parametrize(
    ("check", "wrong"), [(validation.number, NAN), (validation.integer, 1.5), (validation.boolean, 1)]
)
def test_the_hint_comes_last(check: Callable[..., Any], wrong: Any) -> None:
    assert complaint(check, wrong, hint="Try 16.").endswith(". Try 16.")
