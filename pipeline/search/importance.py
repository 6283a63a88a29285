"""Which parameters matter: how much of what separates good trials from all belongs to each of them."""

from __future__ import annotations

import contextlib
import logging
import random
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pipeline.search.analysis import explored, is_number
from pipeline.search.trial import Parameter, Search, Trial

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

TOP = 0.25
"""Share of the trials that count as good."""
SHUFFLES = 39
"""Of the scores: by chance one in 40 exceeds the highest of 39."""
FEWEST = 12
"""Trials, of which then at least three are good."""


@dataclass(frozen=True)
class Importance:
    key: str
    share: float
    """Of all parameters' together."""
    chance: float
    """What a parameter without any effect exceeds once in 40 times with these trials, on the same scale."""

    @property
    def beyond_chance(self) -> bool:
        return self.share > self.chance


def importances(search: Search) -> list[Importance]:
    """PED-ANOVA (Watanabe, Bansal, Hutter 2023): how differently good trials and all trials are spread over a
    parameter, the most important first; empty with too few trials to say.

    Of Optuna's evaluators it is the one that needs no forest of scikit-learn; and since it compares with where the
    trials were, not with an even spread, it allows for rounds that narrow. A trial that broke counts as the worst. The
    same scores dealt out to the trials anew show what a parameter without effect would get.
    """
    trials = explored(search)
    ranges = widest(search)
    keys = [key for key in ranges if all(key in t.params for t in trials)]
    sign = 1 if search.direction == "maximize" else -1
    known = [sign * t.score for t in trials if is_number(t.score)]
    if len(trials) < FEWEST or len(set(known)) < 2 or not keys:
        return []
    values = [sign * t.score if is_number(t.score) else min(known) for t in trials]
    parameters = [ranges[key] for key in keys]
    measured = _ped_anova(trials, values, parameters)
    total = sum(measured.values())
    if total <= 0:
        return []
    chance = dict.fromkeys(keys, 0.0)
    deal = random.Random(search.seed)
    for _ in range(SHUFFLES):
        deal.shuffle(values)
        dealt = _ped_anova(trials, values, parameters)
        chance = {key: max(chance[key], dealt[key]) for key in keys}
    found = [Importance(key, measured[key] / total, chance[key] / total) for key in keys]
    return sorted(found, key=lambda importance: -importance.share)


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


def _ped_anova(trials: Sequence[Trial], values: Sequence[float], parameters: Sequence[Parameter]) -> dict[str, float]:
    import optuna
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    spread = {p.key: _distribution(p) for p in parameters}
    with _quiet_optuna():
        study = optuna.create_study(direction="maximize")
        for trial, value in zip(trials, values, strict=True):
            params = {key: trial.params[key] for key in spread}
            study.add_trial(optuna.trial.create_trial(params=params, distributions=spread, value=value))
        evaluator = PedAnovaImportanceEvaluator(target_quantile=TOP)
        return get_param_importances(study, evaluator=evaluator, normalize=False)


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
