"""Winner against runner-up: the test against scipy's, and every verdict."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from scipy.stats import ttest_ind

from pipeline.search.records import Search
from pipeline.search.results.compare_best import (
    RetrainedTrial,
    RetrainJob,
    SeedComparison,
    compare,
    compare_best_two,
    welch_p_value,
)

SearchOf = Callable[..., Search]


def test_welch_is_scipys() -> None:
    rng = random.Random(0)
    for _ in range(60):
        a = [rng.gauss(0, 1) for _ in range(rng.randint(2, 6))]
        b = [rng.gauss(rng.choice([0, 3, 20]), rng.choice([0.05, 1, 5])) for _ in range(rng.randint(2, 6))]
        assert welch_p_value(a, b) == pytest.approx(ttest_ind(a, b, equal_var=False).pvalue, rel=1e-3)


def test_noise_is_called_a_difference_as_rarely_as_it_says() -> None:
    rng = random.Random(1)

    def sample() -> list[float]:
        return [rng.gauss(0, 1) for _ in range(3)]

    called = sum((welch_p_value(sample(), sample()) or 1) < 0.05 for _ in range(2000))
    assert 0.02 < called / 2000 < 0.06  # Welch's test is a little careful with three seeds


def verdict(
    first: Sequence[float | None], second: Sequence[float | None], direction: str = "maximize"
) -> SeedComparison:
    one, other = RetrainedTrial(4, 0.95, tuple(first)), RetrainedTrial(9, 0.94, tuple(second))
    return compare(one, other, seeds=tuple(range(1, len(first) + 1)), direction=direction)


def test_every_verdict() -> None:
    assert verdict([0.91, 0.92, 0.90], [0.80, 0.81, 0.82]).verdict == "better"
    noise = verdict([0.91, 0.92, 0.90], [0.90, 0.92, 0.89])
    assert (noise.verdict, noise.chosen) == ("within_noise", 4)
    assert verdict([0.90, 0.92, 0.89], [0.91, 0.92, 0.90]).chosen == 9
    assert "equal within seed noise: 0.9100 ± 0.0100 against 0.9033 ± 0.0153 of trial 9 over 3 seeds" in noise.sentence
    worse = verdict([0.80, 0.81, 0.82], [0.91, 0.92, 0.90])
    assert (worse.verdict, worse.chosen) == ("worse", 9)
    broken = verdict([0.9, None, 0.9], [0.8, 0.81, 0.8])
    assert (broken.verdict, broken.chosen) == ("broken", 9)
    assert verdict([0.9, 0.91, 0.9], [None, None, 0.8]).chosen == 4
    assert verdict([None, 0.9, 0.9], [None, None, 0.8]).chosen == 4
    for scores in ([0.9], [0.9, 0.9, 0.9]):
        assert verdict(scores, [0.8] * len(scores)).verdict == "untold"
    assert compare(RetrainedTrial(4, 0.95, (0.9, 0.91)), seeds=(1, 2), direction="maximize").verdict == "alone"


def test_of_losses_the_lower_is_better() -> None:
    found = verdict([0.3, 0.31, 0.29], [0.5, 0.51, 0.52], "minimize")
    assert found.verdict == "better"
    assert found.difference == pytest.approx(0.21)


def test_the_two_best_are_trained_with_seeds_that_the_search_did_not_use(search_of: SearchOf) -> None:
    search = search_of(trials=20, fine=True)
    search = replace(search, trials=tuple(replace(t, seed=t.number % 4) for t in search.trials))
    asked: list[RetrainJob] = []

    def retrain(jobs: Sequence[RetrainJob]) -> list[float]:
        asked.extend(jobs)
        return [0.9 + 0.01 * job.seed + job.trial / 1000 for job in jobs]

    found = compare_best_two(search, retrain, seeds=3)
    first, second = search.ranking()[:2]
    assert [(job.trial, job.seed) for job in asked] == [(t.number, s) for t in (first, second) for s in (4, 5, 6)]
    assert asked[0].overrides == first.overrides
    assert found is not None
    assert found.winner.scores == tuple(0.9 + 0.01 * seed + first.number / 1000 for seed in (4, 5, 6))
    assert found.as_dict()["trained"][1]["trial"] == second.number


def test_a_repetition_of_the_winner_is_no_runner_up(search_of: SearchOf) -> None:
    search = search_of(trials=20)
    first, second = search.ranking()[:2]
    copy = replace(first, number=99)
    found = compare_best_two(replace(search, trials=(*search.trials, copy)), lambda jobs: [0.5] * len(jobs), seeds=2)
    assert found is not None
    assert found.runner_up is not None
    assert found.runner_up.trial == second.number


def test_without_a_complete_trial_there_is_no_winner(search_of: SearchOf) -> None:
    search = search_of(trials=3)
    broken = tuple(replace(t, state="broken", score=None) for t in search.trials)
    assert compare_best_two(replace(search, trials=broken), lambda jobs: [], seeds=3) is None
