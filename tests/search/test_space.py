"""Hydra's sweep syntax as parameters, and the values that samplers take from them."""

from __future__ import annotations

import math

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from pipeline.errors import UserError
from pipeline.search.records import Parameter
from pipeline.search.space.sampling import grid, presample
from pipeline.search.space.space import parameters, to_override


def space(*words: str) -> tuple[Parameter, ...]:
    return parameters(OverridesParser.create().parse_overrides(list(words)))


@pytest.mark.parametrize(
    ("word", "expected"),
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
def test_each_form_of_a_sweep(word: str, expected: Parameter) -> None:
    assert space(word, "b=3") == (expected,)


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("a=interval(1,1)", "empty"),
        ("a=interval(2,1)", "reversed"),
        ("a=tag(log,interval(0,1))", "above 0"),
        ("a=range(5,1)", "empty"),
        ("b=3", "nothing to search"),
    ],
)
def test_what_cannot_be_searched(word: str, told: str) -> None:
    with pytest.raises(UserError, match=told):
        space(word)


@pytest.mark.parametrize("value", [1e-05, 3, 0.25, True, None, "relu", "two words", "it's", "[8,8]", "a/b.yaml"])
def test_what_is_typed_is_read_as_the_value(value: object) -> None:
    parameter = Parameter("a", "choice", sign="+")
    override = OverridesParser.create().parse_override(to_override(parameter, value))  # type: ignore[arg-type]
    assert override.is_add()
    read = override.value()
    if value == "[8,8]":
        assert read == [8, 8]
    else:
        assert getattr(read, "text", read) == value


@pytest.mark.parametrize("sampler", ["random", "quasi_random"])
def test_trials_follow_from_the_seed_the_round_and_their_place(sampler: str) -> None:
    both = space("a=tag(log,interval(1e-4,1))", "b=choice(x,y,z)", "c=int(interval(1,9))")
    short = presample(sampler, both, 8, seed=3, round=0)
    long = presample(sampler, both, 16, seed=3, round=0)
    assert short is not None
    assert long is not None
    assert long[:8] == short
    assert presample(sampler, both, 8, seed=4, round=0) != short
    assert presample(sampler, both, 8, seed=3, round=1) != short
    for trial in long:
        assert all(0 <= p.to_unit(trial[p.key]) <= 1 for p in both)


def test_log_sampling_puts_as_many_trials_into_each_decade() -> None:
    (a,) = space("a=tag(log,interval(1e-4,1))")
    trials = presample("random", (a,), 400, seed=0, round=0)
    assert trials is not None
    decades = [math.floor(math.log10(float(trial["a"]))) for trial in trials]  # type: ignore[arg-type]
    assert all(70 <= decades.count(decade) <= 130 for decade in (-4, -3, -2, -1))


def test_a_grid_is_even_and_no_larger_than_it_may_be() -> None:
    both = space("a=tag(log,interval(1e-4,1))", "b=tag(log,interval(1e-2,1))")
    points = grid(both, 20)
    assert len(points) == 20
    assert len({p["a"] for p in points}) in (4, 5)
    assert {1e-4, 1.0} <= {p["a"] for p in points}
    assert len(grid(space("a=choice(x,y,z)", "b=choice(u,v)"), 4)) == 4
    assert len(grid(space("a=choice(x,y,z)", "b=choice(u,v)"), 100)) == 6


@pytest.mark.parametrize("sampler", ["tpe", "gp"])
def test_samplers_that_are_led_by_scores_say_nothing_in_advance(sampler: str) -> None:
    assert presample(sampler, space("a=interval(0,1)"), 5, seed=0, round=0) is None
