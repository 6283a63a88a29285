"""Gaps, edges and samplers, on trials whose truth is known."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import pytest

from pipeline.search.records import Parameter, Round, Search, Trial
from pipeline.search.results.analysis import best_so_far, find_edges, find_gaps, sampler_stats, untried_choices

SearchOf = Callable[..., Search]
LR = Parameter(key="optimizer.lr", kind="float", low=1e-4, high=1.0, log=True)


def with_rates(search: Search, *rates: float, parameter: Parameter = LR) -> Search:
    trials = tuple(
        Trial(number=i, round=0, params={parameter.key: rate}, overrides=(), state="complete", score=-abs(rate - 0.01))
        for i, rate in enumerate(rates)
    )
    return replace(search, rounds=(Round("coarse", (parameter,), len(rates), 1),), trials=trials)


def test_gap_in_log_space(search_of: SearchOf) -> None:
    (gap,) = find_gaps(with_rates(search_of(), 1e-3, 1e-2))
    assert (gap.low, gap.high) == (1e-2, 1.0)
    assert gap.share == pytest.approx(0.5)
    assert gap.decades == pytest.approx(2)
    (gap,) = find_gaps(with_rates(search_of(), 1e-2, 1e-1, 1.0))
    assert (gap.low, gap.high) == (1e-4, 1e-2)
    linear = replace(LR, log=False, low=0.0)
    (gap,) = find_gaps(with_rates(search_of(), 0.25, 0.5, 0.75, 0.9, parameter=linear))
    assert (gap.low, gap.high, gap.decades) == (0.0, 0.25, None)


def test_gap_by_chance(search_of: SearchOf) -> None:
    rng = random.Random(0)
    shares = [
        find_gaps(with_rates(search_of(), *(LR.from_unit(rng.random()) for _ in range(9))))[0] for _ in range(300)
    ]
    mean = sum(gap.share for gap in shares) / len(shares)
    assert mean == pytest.approx(shares[0].chance, rel=0.07)


def test_only_informative_trials_count(search_of: SearchOf) -> None:
    search = with_rates(search_of(), 1e-3, 1e-2, 1e-1)
    for state in ("waiting", "running", "crashed", "killed"):
        trials = (*search.trials[:2], replace(search.trials[2], state=state))
        assert find_gaps(replace(search, trials=trials))[0].high == 1.0
    broken = replace(search, trials=(*search.trials[:2], replace(search.trials[2], state="broken", score=None)))
    assert find_gaps(broken) == find_gaps(search)


def test_gaps_of_each_round(search_of: SearchOf) -> None:
    search = search_of(fine=True)
    assert [(gap.key, gap.round) for gap in find_gaps(search)] == [
        ("optimizer.lr", 0),
        ("regularization.l2", 0),
        ("optimizer.lr", 1),
        ("regularization.l2", 1),
    ]


def test_untried_choices(search_of: SearchOf) -> None:
    search = search_of(trials=30)
    assert untried_choices(search) == {}
    trials = tuple(t for t in search.trials if t.params["activation"] != "elu")
    assert untried_choices(replace(search, trials=trials)) == {"activation": ["elu"]}


@pytest.mark.parametrize(("rate", "end"), [(1.2e-4, "low"), (0.9, "high"), (0.01, None)])
def test_best_at_an_edge(search_of: SearchOf, rate: float, end: str | None) -> None:
    search = with_rates(search_of(), rate, 0.02)
    search = replace(search, trials=(replace(search.trials[0], score=1.0), search.trials[1]))
    assert [edge.end for edge in find_edges(search)] == ([] if end is None else [end])


def test_edges_of_the_best_trials_round(search_of: SearchOf) -> None:
    search = search_of(fine=True)
    best = search.ranking()[0]
    wide = replace(search.rounds[1], parameters=(replace(LR, low=best.params["optimizer.lr"]),))  # type: ignore[arg-type]
    assert best.round == 1
    assert [edge.end for edge in find_edges(replace(search, rounds=(search.rounds[0], wide)))] == ["low"]
    assert find_edges(replace(search, trials=())) == []


def test_sampler_stats(search_of: SearchOf) -> None:
    search = search_of(trials=9, samplers=("random", "grid"))
    grid = [{**t.params, "optimizer.lr": (1e-4, 1e-2, 0.1)[i % 3]} for i, t in enumerate(search.trials[9:])]
    trials = [replace(t, params=params) for t, params in zip(search.trials[9:], grid, strict=True)]
    first, second = sampler_stats(replace(search, trials=(*search.trials[:9], *trials)))
    assert (first.sampler, second.sampler) == ("random", "grid")
    assert (first.distinct["optimizer.lr"], second.distinct["optimizer.lr"]) == (9, 3)
    assert second.gaps["optimizer.lr"] == pytest.approx(0.4)
    assert second.best == max(t.score for t in trials if t.score is not None)


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_best_so_far(search_of: SearchOf, direction: str) -> None:
    search = replace(search_of(trials=30), direction=direction)
    best_scores = best_so_far(search, search.trials)
    better = (lambda a, b: b >= a) if direction == "maximize" else (lambda a, b: b <= a)
    assert all(better(a, b) for a, b in pairwise(best_scores))
    scores = [t.score for t in search.trials if t.score is not None]
    assert best_scores[-1] == (max if direction == "maximize" else min)(scores)


def test_conditional_parameter(search_of: SearchOf) -> None:
    search = with_rates(search_of(), 1e-3, 1e-2)
    other = replace(search.trials[0], number=2, params={})
    assert find_gaps(replace(search, trials=(*search.trials, other))) == find_gaps(search)
    assert find_gaps(replace(search, trials=(other,))) == []
    (sampled,) = sampler_stats(replace(search, trials=(*search.trials, other)))
    assert sampled.distinct == {"optimizer.lr": 2}


def test_neighbours_have_no_gap(search_of: SearchOf) -> None:
    depth = Parameter(key="model.depth", kind="int", low=1, high=3, step=1)
    assert find_gaps(with_rates(search_of(), 1, 2, 3, parameter=depth)) == []
    assert find_gaps(with_rates(search_of(), 1, 2, 3, parameter=replace(depth, step=None))) == []
    (untried_end,) = find_gaps(with_rates(search_of(), 2, 3, parameter=depth))
    assert (untried_end.low, untried_end.high) == (1, 2)
    steps = Parameter(key="dropout", kind="float", low=0.1, high=0.3, step=0.1)
    assert find_gaps(with_rates(search_of(), 0.1, 0.2, 0.3, parameter=steps)) == []
    (hole,) = find_gaps(with_rates(search_of(), 0.1, 0.3, parameter=steps))
    assert (hole.low, hole.high) == (0.1, 0.3)
