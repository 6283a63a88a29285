"""Which values are tried. The samplers are Optuna's, but for the grid, which needs no sampling."""

from __future__ import annotations

import itertools
import math
import random
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from pipeline.search.records import Parameter, Value
from pipeline.search.settings import NON_ADAPTIVE_SAMPLERS
from pipeline.validation import require_package

optuna.logging.set_verbosity(optuna.logging.ERROR)

ActiveParameters = Callable[[Sequence[Parameter], Mapping[str, Value]], Sequence[Parameter]]
"""Which of the parameters a trial with these values has, since an option may have keys that others have not; while
options are open, they alone."""

SIGNIFICANT_DIGITS = 6
"""Of a sampled number: enough to tell trials apart, few enough to be read and typed."""


def all_parameters(parameters: Sequence[Parameter], params: Mapping[str, Value]) -> Sequence[Parameter]:
    """All of them, where no parameter depends on another."""
    return parameters


def distribution(parameter: Parameter) -> BaseDistribution:
    """Optuna's word for the parameter."""
    if parameter.kind == "choice":
        return CategoricalDistribution(parameter.choices)
    if parameter.kind == "int":
        step = int(parameter.step or 1)
        return IntDistribution(int(parameter.low), int(parameter.high), log=parameter.log, step=step)
    return FloatDistribution(parameter.low, parameter.high, log=parameter.log, step=parameter.step)


def suggest(trial: optuna.Trial, parameter: Parameter) -> Value:
    """What the trial's sampler chooses for the parameter."""
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
    round: int,
    applying: ActiveParameters = all_parameters,
) -> list[dict[str, Value]] | None:
    """The parameters of a round's trials: a function of (seed, round, i) alone, whoever runs them; None where they
    depend on scores. Every parameter is drawn for every trial, so that one more changes none, and those that do not
    apply are left out. A grid may have less than `n` points."""
    if sampler not in NON_ADAPTIVE_SAMPLERS:
        return None
    drawn = grid(parameters, n) if sampler == "grid" else _drawn(sampler, parameters, n, seed=seed, round=round)
    kept = [{p.key: params[p.key] for p in applying(parameters, params)} for params in drawn]
    return _once(kept) if sampler == "grid" else kept


def _once(trials: list[dict[str, Value]]) -> list[dict[str, Value]]:
    return list(
        {tuple((key, type(value), value) for key, value in params.items()): params for params in trials}.values()
    )


def _drawn(sampler: str, parameters: tuple[Parameter, ...], n: int, *, seed: int, round: int) -> list[dict[str, Value]]:
    asked = optuna.create_study(sampler=_sampler(sampler, seed=_mixed(seed, round)))
    distributions = {p.key: distribution(p) for p in parameters}
    trials = []
    for _ in range(n):
        trial = asked.ask(distributions)
        trials.append({p.key: _short(p, trial.params[p.key]) for p in parameters})
        asked.tell(trial, 0.0)
    return trials


def make_sampler(sampler: str, *, seed: int, round: int) -> optuna.samplers.BaseSampler:
    """The sampler of a study whose trials are chosen as it goes."""
    return _sampler(sampler if sampler not in NON_ADAPTIVE_SAMPLERS else "random", seed=_mixed(seed, round))


def grid(parameters: tuple[Parameter, ...], n: int) -> list[dict[str, Value]]:
    """At most `n` points, evenly spaced in each parameter: every choice, and as many levels of each range as fit."""
    levels = [_values(p) if p.kind == "choice" or p.step else 1 for p in parameters]
    open_ = [i for i, p in enumerate(parameters) if p.kind != "choice" and not p.step]
    while open_:
        i = min(open_, key=lambda i: levels[i])
        more = [level + (i == j) for j, level in enumerate(levels)]
        if math.prod(more) > n or levels[i] >= _values(parameters[i]):
            open_.remove(i)
        else:
            levels = more
    axes = [_levels(p, k) for p, k in zip(parameters, levels, strict=True)]
    points = [dict(zip((p.key for p in parameters), point, strict=True)) for point in itertools.product(*axes)]
    return [points[i * len(points) // n] for i in range(n)] if len(points) > n else points


def _values(parameter: Parameter) -> int:
    """How many different values there are; for a range of any numbers, more than one wants."""
    if parameter.kind == "choice":
        return len(parameter.choices)
    if parameter.step:
        return round((parameter.high - parameter.low) / parameter.step) + 1
    return int(parameter.high - parameter.low) + 1 if parameter.kind == "int" else 2**31


def _levels(parameter: Parameter, k: int) -> list[Value]:
    if parameter.kind == "choice":
        return list(parameter.choices)
    positions = [0.5] if k == 1 else [i / (k - 1) for i in range(k)]
    return list(dict.fromkeys(_short(parameter, parameter.from_unit(position)) for position in positions))


def _short(parameter: Parameter, value: Any) -> Value:
    if parameter.kind != "float":
        return value
    if parameter.step:
        return float(f"{value:.12g}")
    return min(max(float(f"{value:.{SIGNIFICANT_DIGITS}g}"), parameter.low), parameter.high)


def _mixed(seed: int, round: int) -> int:
    return random.Random(f"{seed}/{round}").randrange(2**31)


def _sampler(name: str, *, seed: int) -> optuna.samplers.BaseSampler:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that some of them are young
        if name == "random":
            return optuna.samplers.RandomSampler(seed=seed)
        if name == "tpe":
            return optuna.samplers.TPESampler(seed=seed)
        require_package("scipy", extra="samplers", field="search.sampler")
        if name == "gp":
            return optuna.samplers.GPSampler(seed=seed)
        return optuna.samplers.QMCSampler(seed=seed, scramble=True, warn_independent_sampling=False)
