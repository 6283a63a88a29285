"""PED-ANOVA by Optuna, on trials in memory."""

from __future__ import annotations

import dataclasses
import functools
import warnings
from collections.abc import Mapping, Sequence

import optuna
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial, create_trial

from pipeline.search.records import Parameter, Value
from pipeline.search.study.samplers import distribution


class PedAnova:
    """The importances of `parameters` on one set of trials, whose scores are given later, possibly several times.

    `points` are the parameters of each trial, and the fraction `top_fraction` of the trials counts as good.
    """

    def __init__(self, parameters: Sequence[Parameter], points: Sequence[Mapping[str, Value]], *, top_fraction: float):
        self._evaluator = PedAnovaImportanceEvaluator(target_quantile=top_fraction)
        self._study = optuna.create_study()
        distributions = {p.key: distribution(dataclasses.replace(p, step=None)) for p in parameters}
        for params in points:
            present = {key: params[key] for key in distributions}
            self._study.add_trial(create_trial(params=present, distributions=distributions, value=0.0))

    def importances(self, scores: Sequence[float]) -> dict[str, float]:
        """Return the importance of each parameter, not scaled. `scores`: one for each trial, the higher the better."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Optuna calls importances without scaling experimental
            return get_param_importances(
                self._study,
                evaluator=self._evaluator,
                target=functools.partial(_cost, scores),
                normalize=False,
            )


def _cost(scores: Sequence[float], trial: FrozenTrial) -> float:
    """Return the negative score: the evaluator looks for low targets."""
    return -scores[trial.number]
