"""The importance of each parameter: how much of the difference between good trials and all trials belongs to it."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from pipeline.search.records import Parameter, Search
from pipeline.search.results.analysis import informative_trials, is_number
from pipeline.search.study.ped_anova import PedAnova

TOP_FRACTION = 0.25
"""Fraction of the trials that count as good."""
SHUFFLES = 19
"""Random assignments of the scores to the trials. By chance one value in 20 exceeds the highest of 19."""
MIN_TRIALS = 12
"""Least number of trials, of which then at least three are good."""


@dataclass(frozen=True)
class Importance:
    """The importance of one parameter."""

    key: str
    share: float
    """Importance as a fraction of that of all parameters together."""
    chance: float
    """Value that a parameter without effect exceeds once in 20 times, on the same scale."""

    @property
    def beyond_chance(self) -> bool:
        return self.share > self.chance


@dataclass(frozen=True)
class _ScoredRound:
    """The trials of a round, and their scores, the higher the better."""

    anova: PedAnova
    scores: list[float]


def importances(search: Search) -> list[Importance]:
    """Return the importance of each parameter, the most important first; empty if there are too few trials.

    PED-ANOVA (Watanabe, Bansal, Hutter 2023) compares how good trials and all trials are distributed over a parameter.
    Of Optuna's evaluators it is the one that needs no random forest. It is applied to each round, and the mean over the
    rounds, weighted by their trials, counts: over all trials together, a round that was narrowed around good trials
    would make the narrowed parameters look important. A trial that broke counts as the worst. The chance values come
    from the same scores, shuffled among the trials of each round.
    """
    rounds = [scored for i in range(len(search.rounds)) if (scored := _score_round(search, i)) is not None]
    measured = _mean_importances(rounds)
    total = sum(measured.values())
    if total <= 0:
        return []
    chance = dict.fromkeys(measured, 0.0)
    rng = random.Random(search.seed)
    for _ in range(SHUFFLES):
        for scored in rounds:
            rng.shuffle(scored.scores)
        shuffled = _mean_importances(rounds)
        chance = {key: max(chance[key], shuffled[key]) for key in measured}
    result = [Importance(key, measured[key] / total, chance[key] / total) for key in measured]
    return sorted(result, key=lambda importance: -importance.share)


def widest_ranges(search: Search) -> dict[str, Parameter]:
    """Return each parameter over the ranges and choices of all rounds."""
    widest: dict[str, Parameter] = {}
    for parameter in (p for search_round in search.rounds for p in search_round.parameters):
        known = widest.get(parameter.key, parameter)
        widest[parameter.key] = replace(
            parameter,
            low=min(known.low, parameter.low),
            high=max(known.high, parameter.high),
            choices=tuple(dict.fromkeys([*known.choices, *parameter.choices])),
        )
    return widest


def _score_round(search: Search, round_index: int) -> _ScoredRound | None:
    """Return the scored trials of a round, or None if it has too few, or no difference between them."""
    trials = informative_trials(search, round_index=round_index)
    sign = 1 if search.direction == "maximize" else -1
    known = [sign * t.score for t in trials if is_number(t.score)]
    parameters = [p for p in search.rounds[round_index].parameters if all(p.key in t.params for t in trials)]
    if len(trials) < MIN_TRIALS or len(set(known)) < 2 or not parameters:
        return None
    scores = [sign * t.score if is_number(t.score) else min(known) for t in trials]
    anova = PedAnova(parameters, [t.params for t in trials], top_fraction=TOP_FRACTION)
    return _ScoredRound(anova, scores)


def _mean_importances(rounds: Sequence[_ScoredRound]) -> dict[str, float]:
    """Return the mean importance of each parameter over the rounds, weighted by their trials."""
    n_trials = sum(len(scored.scores) for scored in rounds)
    mean: dict[str, float] = {}
    for scored in rounds:
        for key, value in scored.anova.importances(scored.scores).items():
            mean[key] = mean.get(key, 0.0) + value * len(scored.scores) / n_trials
    return mean
