"""The best two trials with other seeds: every verdict, and how often noise is called a difference."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

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


def test_welch_p_value() -> None:
    """By hand: t = 2 / sqrt(1/3 + 1/3) with 4 degrees of freedom (tables: 0.0705)."""
    assert welch_p_value([1, 2, 3], [3, 4, 5]) == pytest.approx(0.0705, abs=1e-4)
    constant = welch_p_value([0.9, 0.9, 0.9], [0.8, 0.81, 0.79])
    assert constant is not None
    assert 0 < constant < 0.05
    assert welch_p_value([0.9, 0.9], [0.8, 0.8]) is None
    assert welch_p_value([0.9], [0.8]) is None


def test_false_positives() -> None:
    """Welch's test is a little careful with three seeds: less than the level of 0.05."""
    rng = random.Random(1)

    def sample() -> list[float]:
        return [rng.gauss(0, 1) for _ in range(3)]

    positives = sum((welch_p_value(sample(), sample()) or 1) < 0.05 for _ in range(800))
    assert 0.015 < positives / 800 < 0.06


def compare_scores(
    first: Sequence[float | None], second: Sequence[float | None], direction: str = "maximize"
) -> SeedComparison:
    winner, runner_up = RetrainedTrial(4, 0.95, tuple(first)), RetrainedTrial(9, 0.94, tuple(second))
    return compare(winner, runner_up, seeds=tuple(range(1, len(first) + 1)), direction=direction)


@pytest.mark.parametrize(
    ("first", "second", "verdict", "chosen"),
    [
        ([0.91, 0.92, 0.90], [0.80, 0.81, 0.82], "better", 4),
        ([0.91, 0.92, 0.90], [0.90, 0.92, 0.89], "within_noise", 4),
        ([0.90, 0.92, 0.89], [0.91, 0.92, 0.90], "within_noise", 9),
        ([0.80, 0.81, 0.82], [0.91, 0.92, 0.90], "worse", 9),
        ([0.9, None, 0.9], [0.8, 0.81, 0.8], "broken", 9),
        ([0.9, 0.91, 0.9], [None, None, 0.8], "broken", 4),
        ([None, 0.9, 0.9], [None, None, 0.8], "broken", 4),
        ([0.9], [0.8], "inconclusive", 4),
        ([0.9, 0.9, 0.9], [0.8, 0.8, 0.8], "inconclusive", 4),
    ],
)
def test_verdict(first: Sequence[float | None], second: Sequence[float | None], verdict: str, chosen: int) -> None:
    result = compare_scores(first, second)
    assert (result.verdict, result.chosen) == (verdict, chosen)


def test_single_trial() -> None:
    result = compare(RetrainedTrial(4, 0.95, (0.9, 0.91)), seeds=(1, 2), direction="maximize")
    assert (result.verdict, result.chosen) == ("single", 4)


def test_sentence_has_the_numbers() -> None:
    noise = compare_scores([0.91, 0.92, 0.90], [0.90, 0.92, 0.89])
    assert "0.9100 ± 0.0100" in noise.sentence
    assert "0.9033 ± 0.0153" in noise.sentence
    assert noise.p is not None
    assert f"{noise.p:.2g}" in noise.sentence


def test_losses() -> None:
    result = compare_scores([0.3, 0.31, 0.29], [0.5, 0.51, 0.52], "minimize")
    assert result.verdict == "better"
    assert result.difference == pytest.approx(0.21)


def test_new_seeds(search_of: SearchOf) -> None:
    """The best two are trained with seeds that the search did not use."""
    search = search_of(trials=20, fine=True)
    search = replace(search, trials=tuple(replace(t, seed=t.number % 4) for t in search.trials))
    submitted: list[RetrainJob] = []

    def retrain(jobs: Sequence[RetrainJob]) -> list[float]:
        submitted.extend(jobs)
        return [0.9 + 0.01 * job.seed + job.trial / 1000 for job in jobs]

    result = compare_best_two(search, retrain, seeds=3)
    first, second = search.ranking()[:2]
    assert [(job.trial, job.seed) for job in submitted] == [(t.number, s) for t in (first, second) for s in (4, 5, 6)]
    assert submitted[0].overrides == first.overrides
    assert result is not None
    assert result.winner.scores == tuple(0.9 + 0.01 * seed + first.number / 1000 for seed in (4, 5, 6))
    assert result.as_dict()["trained"][1]["trial"] == second.number


def test_runner_up_has_other_parameters(search_of: SearchOf) -> None:
    search = search_of(trials=20)
    first, second = search.ranking()[:2]
    copy = replace(first, number=99)
    result = compare_best_two(replace(search, trials=(*search.trials, copy)), lambda jobs: [0.5] * len(jobs), seeds=2)
    assert result is not None
    assert result.runner_up is not None
    assert result.runner_up.trial == second.number


def test_no_complete_trial(search_of: SearchOf) -> None:
    search = search_of(trials=3)
    broken = tuple(replace(t, state="broken", score=None) for t in search.trials)
    assert compare_best_two(replace(search, trials=broken), lambda jobs: [], seeds=3) is None
