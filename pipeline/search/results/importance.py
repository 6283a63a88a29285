"""Which parameters matter: how much of what separates good trials from all belongs to each of them."""

from __future__ import annotations

import contextlib
import functools
import logging
import random
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pipeline.search.records import Parameter, Search
from pipeline.search.results.analysis import explored, is_number

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

TOP = 0.25
"""Share of the trials that count as good."""
SHUFFLES = 19
"""Of the scores: by chance one in 20 exceeds the highest of 19."""
FEWEST = 12
"""Trials, of which then at least three are good."""


@dataclass(frozen=True)
class Importance:
    key: str
    share: float
    """Of all parameters' together."""
    chance: float
    """What a parameter without any effect exceeds once in 20 times with these trials, on the same scale."""

    @property
    def beyond_chance(self) -> bool:
        return self.share > self.chance


def importances(search: Search) -> list[Importance]:
    """PED-ANOVA (Watanabe, Bansal, Hutter 2023): how differently good trials and all trials are spread over a
    parameter, the most important first; empty with too few trials to say.

    Of Optuna's evaluators it is the one that needs no forest of scikit-learn. It looks at one round at a time, and the
    mean over rounds, weighted by their trials, counts: taken together, a round that was narrowed around good trials
    would make whatever it was narrowed in look important. A trial that broke counts as the worst. The same scores
    dealt out to each round's trials anew show what a parameter without effect would get.
    """
    rounds = [told for i in range(len(search.rounds)) if (told := _scored(search, i)) is not None]
    measured = _mean(rounds)
    total = sum(measured.values())
    if total <= 0:
        return []
    chance = dict.fromkeys(measured, 0.0)
    deal = random.Random(search.seed)
    for _ in range(SHUFFLES):
        for told in rounds:
            deal.shuffle(told.values)
        dealt = _mean(rounds)
        chance = {key: max(chance[key], dealt[key]) for key in measured}
    found = [Importance(key, measured[key] / total, chance[key] / total) for key in measured]
    return sorted(found, key=lambda importance: -importance.share)


@dataclass(frozen=True)
class _Scored:
    """A round's trials as Optuna sees them, and their scores, the higher the better."""

    study: optuna.Study
    values: list[float]


def _scored(search: Search, round: int) -> _Scored | None:
    """None where the trials of a round say nothing."""
    import optuna

    trials = explored(search, round=round)
    sign = 1 if search.direction == "maximize" else -1
    known = [sign * t.score for t in trials if is_number(t.score)]
    spread = {
        p.key: _distribution(p) for p in search.rounds[round].parameters if all(p.key in t.params for t in trials)
    }
    if len(trials) < FEWEST or len(set(known)) < 2 or not spread:
        return None
    values = [sign * t.score if is_number(t.score) else min(known) for t in trials]
    with _quiet_optuna():
        study = optuna.create_study()
        for trial in trials:
            params = {key: trial.params[key] for key in spread}
            study.add_trial(optuna.trial.create_trial(params=params, distributions=spread, value=0.0))
    return _Scored(study, values)


def _mean(rounds: Sequence[_Scored]) -> dict[str, float]:
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    evaluator = PedAnovaImportanceEvaluator(target_quantile=TOP)
    total = sum(len(told.values) for told in rounds)
    found: dict[str, float] = {}
    for told in rounds:
        with _quiet_optuna():  # the evaluator looks for low targets
            shares = get_param_importances(
                told.study, evaluator=evaluator, target=functools.partial(_low, told.values), normalize=False
            )
        for key, value in shares.items():
            found[key] = found.get(key, 0.0) + value * len(told.values) / total
    return found


def _low(values: Sequence[float], trial: FrozenTrial) -> float:
    return -values[trial.number]


def widest(search: Search) -> dict[str, Parameter]:
    """Each parameter over all that any round allowed."""
    found: dict[str, Parameter] = {}
    for parameter in (p for about in search.rounds for p in about.parameters):
        before = found.get(parameter.key, parameter)
        found[parameter.key] = replace(
            parameter,
            low=min(before.low, parameter.low),
            high=max(before.high, parameter.high),
            choices=tuple(dict.fromkeys([*before.choices, *parameter.choices])),
        )
    return found


def _distribution(parameter: Parameter) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if parameter.kind == "choice":
        return CategoricalDistribution(parameter.choices)
    if parameter.kind == "int":
        return IntDistribution(int(parameter.low), int(parameter.high), log=parameter.log)
    return FloatDistribution(parameter.low, parameter.high, log=parameter.log)


@contextlib.contextmanager
def _quiet_optuna() -> Iterator[None]:
    """Without a line for the study in memory, nor the warning that unscaled importances are an experiment."""
    logger = logging.getLogger("optuna")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
