"""Gaps, edges, samplers: against slow counts, and where the truth is known."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import pytest

from pipeline.search.records import Parameter, Round, Search, Trial
from pipeline.search.results.analysis import best_so_far, edges, gaps, sampler_stats, untried_choices

SearchOf = Callable[..., Search]
LR = Parameter(key="optimizer.lr", kind="float", low=1e-4, high=1.0, log=True)


def with_rates(search: Search, *rates: float, parameter: Parameter = LR) -> Search:
    trials = tuple(
        Trial(number=i, round=0, params={parameter.key: rate}, overrides=(), state="complete", score=-abs(rate - 0.01))
        for i, rate in enumerate(rates)
    )
    return replace(search, rounds=(Round("coarse", (parameter,), len(rates), 1),), trials=trials)


def test_a_gap_is_measured_in_log_space_and_the_ends_belong_to_it(search_of: SearchOf) -> None:
    (gap,) = gaps(with_rates(search_of(), 1e-3, 1e-2))
    assert (gap.low, gap.high) == (1e-2, 1.0)
    assert gap.share == pytest.approx(0.5)
    assert gap.decades == pytest.approx(2)
    (gap,) = gaps(with_rates(search_of(), 1e-2, 1e-1, 1.0))
    assert (gap.low, gap.high) == (1e-4, 1e-2)
    linear = replace(LR, log=False, low=0.0)
    (gap,) = gaps(with_rates(search_of(), 0.25, 0.5, 0.75, 0.9, parameter=linear))
    assert (gap.low, gap.high, gap.decades) == (0.0, 0.25, None)


def test_chance_is_what_random_trials_leave_on_average(search_of: SearchOf) -> None:
    rng = random.Random(0)
    shares = [gaps(with_rates(search_of(), *(LR.from_unit(rng.random()) for _ in range(9))))[0] for _ in range(600)]
    mean = sum(gap.share for gap in shares) / len(shares)
    assert mean == pytest.approx(shares[0].chance, rel=0.05)


def test_trials_that_said_nothing_explored_nothing(search_of: SearchOf) -> None:
    search = with_rates(search_of(), 1e-3, 1e-2, 1e-1)
    for state in ("waiting", "running", "crashed", "killed"):
        trials = (*search.trials[:2], replace(search.trials[2], state=state))
        assert gaps(replace(search, trials=trials))[0].high == 1.0
    broken = replace(search, trials=(*search.trials[:2], replace(search.trials[2], state="broken", score=None)))
    assert gaps(broken) == gaps(search)


def test_each_round_has_its_own_gaps_and_choices_have_none(search_of: SearchOf) -> None:
    search = search_of(fine=True)
    assert [(gap.key, gap.round) for gap in gaps(search)] == [
        ("optimizer.lr", 0),
        ("regularization.l2", 0),
        ("optimizer.lr", 1),
        ("regularization.l2", 1),
    ]


def test_choices_that_were_not_tried_are_told(search_of: SearchOf) -> None:
    search = search_of(trials=30)
    assert untried_choices(search) == {}
    trials = tuple(t for t in search.trials if t.params["activation"] != "elu")
    assert untried_choices(replace(search, trials=trials)) == {"activation": ["elu"]}


@pytest.mark.parametrize(("rate", "end"), [(1.2e-4, "low"), (0.9, "high"), (0.01, None)])
def test_the_best_at_an_edge(search_of: SearchOf, rate: float, end: str | None) -> None:
    search = with_rates(search_of(), rate, 0.02)
    search = replace(search, trials=(replace(search.trials[0], score=1.0), search.trials[1]))
    assert [edge.end for edge in edges(search)] == ([] if end is None else [end])


def test_the_edges_are_those_of_the_best_trials_own_round(search_of: SearchOf) -> None:
    search = search_of(fine=True)
    best = search.ranking()[0]
    wide = replace(search.rounds[1], parameters=(replace(LR, low=best.params["optimizer.lr"]),))  # type: ignore[arg-type]
    assert best.round == 1
    assert [edge.end for edge in edges(replace(search, rounds=(search.rounds[0], wide)))] == ["low"]
    assert edges(replace(search, trials=())) == []


def test_samplers_are_told_apart(search_of: SearchOf) -> None:
    search = search_of(trials=9, samplers=("random", "grid"))
    grid = [{**t.params, "optimizer.lr": (1e-4, 1e-2, 0.1)[i % 3]} for i, t in enumerate(search.trials[9:])]
    trials = [replace(t, params=params) for t, params in zip(search.trials[9:], grid, strict=True)]
    first, second = sampler_stats(replace(search, trials=(*search.trials[:9], *trials)))
    assert (first.sampler, second.sampler) == ("random", "grid")
    assert (first.distinct["optimizer.lr"], second.distinct["optimizer.lr"]) == (9, 3)
    assert second.gaps["optimizer.lr"] == pytest.approx(0.4)
    assert second.best == max(t.score for t in trials if t.score is not None)


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_the_best_so_far_never_gets_worse(search_of: SearchOf, direction: str) -> None:
    search = replace(search_of(trials=30), direction=direction)
    line = best_so_far(search, search.trials)
    better = (lambda a, b: b >= a) if direction == "maximize" else (lambda a, b: b <= a)
    assert all(better(a, b) for a, b in pairwise(line))
    scores = [t.score for t in search.trials if t.score is not None]
    assert line[-1] == (max if direction == "maximize" else min)(scores)


def test_a_parameter_that_some_trials_have_is_measured_by_those(search_of: SearchOf) -> None:
    search = with_rates(search_of(), 1e-3, 1e-2)
    other = replace(search.trials[0], number=2, params={})
    assert gaps(replace(search, trials=(*search.trials, other))) == gaps(search)
    assert gaps(replace(search, trials=(other,))) == []
    (sampled,) = sampler_stats(replace(search, trials=(*search.trials, other)))
    assert sampled.distinct == {"optimizer.lr": 2}


def test_neighbouring_whole_numbers_and_steps_have_no_gap_between(search_of: SearchOf) -> None:
    depth = Parameter(key="model.depth", kind="int", low=1, high=3, step=1)
    assert gaps(with_rates(search_of(), 1, 2, 3, parameter=depth)) == []
    assert gaps(with_rates(search_of(), 1, 2, 3, parameter=replace(depth, step=None))) == []
    (untried_end,) = gaps(with_rates(search_of(), 2, 3, parameter=depth))
    assert (untried_end.low, untried_end.high) == (1, 2)
    steps = Parameter(key="dropout", kind="float", low=0.1, high=0.3, step=0.1)
    assert gaps(with_rates(search_of(), 0.1, 0.2, 0.3, parameter=steps)) == []
    (hole,) = gaps(with_rates(search_of(), 0.1, 0.3, parameter=steps))
    assert (hole.low, hole.high) == (0.1, 0.3)
