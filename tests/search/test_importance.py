from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from pipeline.search.records import Search
from pipeline.search.results.importance import importances, widest

SearchOf = Callable[..., Search]


@pytest.mark.parametrize("fine", [False, True])
def test_what_decides_is_found_and_what_does_not_stays_within_chance(search_of: SearchOf, fine: bool) -> None:
    first, *others = importances(search_of(trials=60, fine=fine))
    assert first.key == "optimizer.lr"
    assert first.beyond_chance
    l2 = next(other for other in others if other.key == "regularization.l2")
    assert not l2.beyond_chance
    assert first.share + sum(other.share for other in others) == pytest.approx(1)


def test_chance_holds_what_it_says(search_of: SearchOf) -> None:
    """A parameter without effect exceeds it about once in 20 searches."""
    exceeded = 0
    for seed in range(30):
        found = {i.key: i for i in importances(search_of(trials=30, seed=seed))}
        exceeded += found["regularization.l2"].beyond_chance
    assert exceeded <= 4


def test_trials_that_broke_count_as_the_worst(search_of: SearchOf) -> None:
    """Nothing but breaking tells good from bad."""
    search = search_of(trials=60)
    broke = [t.params["optimizer.lr"] > 0.003 for t in search.trials]
    told = [
        replace(t, state="broken", score=None) if bad else replace(t, state="complete", score=0.9 + t.number % 2 / 100)
        for t, bad in zip(search.trials, broke, strict=True)
    ]
    first = importances(replace(search, trials=tuple(told)))[0]
    assert (first.key, first.beyond_chance) == ("optimizer.lr", True)


def test_too_little_to_say(search_of: SearchOf) -> None:
    search = search_of(trials=60)
    assert importances(replace(search, trials=search.trials[:11])) == []
    assert importances(replace(search, trials=tuple(replace(t, score=0.5) for t in search.trials))) == []


def test_the_direction_counts(search_of: SearchOf) -> None:
    search = search_of(trials=60)
    losses = tuple(replace(t, score=None if t.score is None else -t.score) for t in search.trials)
    turned = importances(replace(search, trials=losses, direction="minimize"))
    assert turned == importances(search)


def test_the_widest_range_holds_all_rounds(search_of: SearchOf) -> None:
    found = widest(search_of(fine=True))
    assert (found["optimizer.lr"].low, found["optimizer.lr"].high) == (1e-5, 1.0)
    assert found["activation"].choices == ("relu", "elu", "maxout")
