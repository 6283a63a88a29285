"""Importances on searches whose truth is known: the rate decides, L2 does not matter."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from pipeline.search.records import Search
from pipeline.search.results.importance import importances, widest_ranges

SearchOf = Callable[..., Search]


@pytest.mark.parametrize("fine", [False, True])
def test_deciding_parameter(search_of: SearchOf, fine: bool) -> None:
    first, *others = importances(search_of(trials=60, fine=fine))
    assert first.key == "optimizer.lr"
    assert first.beyond_chance
    l2 = next(other for other in others if other.key == "regularization.l2")
    assert not l2.beyond_chance
    assert first.share + sum(other.share for other in others) == pytest.approx(1)


def test_chance_value(search_of: SearchOf) -> None:
    """A parameter without effect exceeds it in about one search of 20."""
    exceeded = 0
    for seed in range(20):
        by_key = {i.key: i for i in importances(search_of(trials=30, seed=seed))}
        exceeded += by_key["regularization.l2"].beyond_chance
    assert exceeded <= 3


def test_broken_trials_count_as_the_worst(search_of: SearchOf) -> None:
    """Only breaking distinguishes good trials from bad ones."""
    search = search_of(trials=60)
    trials = tuple(
        replace(t, state="broken", score=None)
        if t.params["optimizer.lr"] > 0.003  # type: ignore[operator]
        else replace(t, state="complete", score=0.9 + t.number % 2 / 100)
        for t in search.trials
    )
    first = importances(replace(search, trials=trials))[0]
    assert (first.key, first.beyond_chance) == ("optimizer.lr", True)


def test_too_few_trials(search_of: SearchOf) -> None:
    search = search_of(trials=60)
    assert importances(replace(search, trials=search.trials[:11])) == []
    assert importances(replace(search, trials=tuple(replace(t, score=0.5) for t in search.trials))) == []


def test_direction(search_of: SearchOf) -> None:
    search = search_of(trials=60)
    losses = tuple(replace(t, score=None if t.score is None else -t.score) for t in search.trials)
    assert importances(replace(search, trials=losses, direction="minimize")) == importances(search)


def test_widest_ranges(search_of: SearchOf) -> None:
    widest = widest_ranges(search_of(fine=True))
    assert (widest["optimizer.lr"].low, widest["optimizer.lr"].high) == (1e-5, 1.0)
    assert widest["activation"].choices == ("relu", "elu", "maxout")
