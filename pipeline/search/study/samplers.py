"""Optuna's samplers and pruners, by the names that `search.sampler` and `search.pruner` have."""

from __future__ import annotations

import warnings

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from pipeline.search.records import Parameter, Value
from pipeline.search.settings import NON_ADAPTIVE_SAMPLERS
from pipeline.search.space.sampling import (
    ActiveParameters,
    all_parameters,
    derive_seed,
    grid_points,
    remove_duplicates,
    round_value,
)

optuna.logging.set_verbosity(optuna.logging.ERROR)


def distribution(parameter: Parameter) -> BaseDistribution:
    """Return the parameter's range as an Optuna distribution."""
    if parameter.kind == "choice":
        return CategoricalDistribution(parameter.choices)
    if parameter.kind == "int":
        step = int(parameter.step or 1)
        return IntDistribution(int(parameter.low), int(parameter.high), log=parameter.log, step=step)
    return FloatDistribution(parameter.low, parameter.high, log=parameter.log, step=parameter.step)


def suggest(trial: optuna.Trial, parameter: Parameter) -> Value:
    """Return the value that the trial's sampler chooses for the parameter."""
    key, low, high, log, step = parameter.key, parameter.low, parameter.high, parameter.log, parameter.step
    if parameter.kind == "choice":
        return trial.suggest_categorical(key, parameter.choices)
    if parameter.kind == "int":
        return trial.suggest_int(key, int(low), int(high), log=log, step=int(step or 1))
    return trial.suggest_float(key, low, high, log=log, step=step)


def presample(
    sampler: str,
    parameters: tuple[Parameter, ...],
    n: int,
    *,
    seed: int,
    round_index: int,
    active: ActiveParameters = all_parameters,
) -> list[dict[str, Value]] | None:
    """Return the parameters of `n` trials, or None if the sampler is adaptive, so that they depend on scores.

    The parameters of trial i are a function of the seed, the round and i. Every parameter is drawn for every trial, so
    that a further parameter changes none of the others; those that a trial does not have are then left out. A grid may
    have fewer than `n` points.
    """
    if sampler not in NON_ADAPTIVE_SAMPLERS:
        return None
    if sampler == "grid":
        points = grid_points(parameters, n)
    else:
        points = _draw(sampler, parameters, n, seed=derive_seed(seed, round_index))
    active_points = [{p.key: params[p.key] for p in active(parameters, params)} for params in points]
    return remove_duplicates(active_points) if sampler == "grid" else active_points


def _draw(sampler: str, parameters: tuple[Parameter, ...], n: int, *, seed: int) -> list[dict[str, Value]]:
    study = optuna.create_study(sampler=_make_sampler(sampler, seed=seed))
    distributions = {p.key: distribution(p) for p in parameters}
    points = []
    for _ in range(n):
        trial = study.ask(distributions)
        points.append({p.key: round_value(p, trial.params[p.key]) for p in parameters})
        study.tell(trial, 0.0)
    return points


def make_adaptive_sampler(sampler: str, *, seed: int, round_index: int) -> optuna.samplers.BaseSampler:
    """Return the sampler of a study whose parameters are chosen when a trial is claimed."""
    name = sampler if sampler not in NON_ADAPTIVE_SAMPLERS else "random"
    return _make_sampler(name, seed=derive_seed(seed, round_index))


def make_pruner(name: str, *, epochs: int) -> optuna.pruners.BasePruner:
    """Return the pruner of `search.pruner`; `none` prunes nothing."""
    if name == "median":
        return optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=0)
    if name == "hyperband":
        return optuna.pruners.HyperbandPruner(min_resource=1, max_resource=max(1, epochs))
    return optuna.pruners.NopPruner()


def _make_sampler(name: str, *, seed: int) -> optuna.samplers.BaseSampler:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Optuna calls some of them experimental
        if name == "random":
            return optuna.samplers.RandomSampler(seed=seed)
        if name == "tpe":
            return optuna.samplers.TPESampler(seed=seed)
        if name == "gp":
            return optuna.samplers.GPSampler(seed=seed)
        return optuna.samplers.QMCSampler(seed=seed, scramble=True, warn_independent_sampling=False)
