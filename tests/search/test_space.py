"""Hydra's sweep syntax as parameters, and values as overrides."""

from __future__ import annotations

import pytest

from pipeline.config.overrides import parse_overrides
from pipeline.errors import UserError
from pipeline.search.records import Parameter
from pipeline.search.space.space import parse_space, to_override


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("a=interval(0,1)", Parameter("a", "float", low=0.0, high=1.0)),
        ("a=tag(log,interval(1e-6,1e-3))", Parameter("a", "float", low=1e-6, high=1e-3, log=True)),
        ("a=int(interval(1,5))", Parameter("a", "int", low=1, high=5)),
        ("a=tag(log,int(interval(1,100)))", Parameter("a", "int", low=1, high=100, log=True)),
        ("a=range(32,257,32)", Parameter("a", "int", low=32, high=256, step=32)),
        ("a=choice(relu,elu)", Parameter("a", "choice", choices=("relu", "elu"))),
        ("a=1,2.5,true,null", Parameter("a", "choice", choices=(1, 2.5, True, None))),
        ("a=choice(choice(x,y),z)", Parameter("a", "choice", choices=("x", "y", "z"))),
        ("a=choice([8,8],[4])", Parameter("a", "choice", choices=("[8,8]", "[4]"))),
        ("+a=interval(0,1)", Parameter("a", "float", low=0.0, high=1.0, sign="+")),
    ],
)
def test_sweeps(override: str, expected: Parameter) -> None:
    assert parse_space(parse_overrides([override, "b=3"])) == (expected,)


@pytest.mark.parametrize(
    ("override", "field"),
    [
        ("a=interval(1,1)", "a"),
        ("a=interval(2,1)", "a"),
        ("a=tag(log,interval(0,1))", "a"),
        ("a=range(5,1)", "a"),
        ("b=3", "search.space"),
    ],
)
def test_invalid_sweeps(override: str, field: str) -> None:
    with pytest.raises(UserError) as error:
        parse_space(parse_overrides([override]))
    assert error.value.field == field


@pytest.mark.parametrize("value", [1e-05, 3, 0.25, True, None, "relu", "two words", "it's", "[8,8]", "a/b.yaml"])
def test_override_gives_the_value(value: object) -> None:
    parameter = Parameter("a", "choice", sign="+")
    (override,) = parse_overrides([to_override(parameter, value)])  # type: ignore[arg-type]
    assert override.is_add()
    parsed = override.value()
    if value == "[8,8]":
        assert parsed == [8, 8]
    else:
        assert getattr(parsed, "text", parsed) == value
