"""The next round: each range narrowed to the good trials, or widened if they lie at its edge."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from pipeline.search.records import Parameter, RangeChange, Round, Trial, rank_trials
from pipeline.search.settings import RoundConfig, SearchSettings
from pipeline.search.space.ranges import can_widen, keep, narrow, widen

MIN_GOOD_TRIALS = 3
"""Fewer good trials say nothing about a region."""
OUTERMOST = 3
"""Number of trials nearest to an end of a range. The best trials lie at that edge if at least two of these are among
the best third, ..."""
MIN_TREND = 1.65
"""... and if scores rise towards the edge: Spearman's rank correlation is at least so many of its standard errors,
1 / sqrt(n - 1). If a parameter does not matter, both happen by chance in about one round of twenty, and the wider range
then costs trials only."""


def next_round(
    rounds: Sequence[Round], trials: Sequence[Trial], settings: SearchSettings, *, examples: int
) -> Round | None:
    """Return the round that follows `rounds`, or None after the last one.

    `trials` are those of all rounds, `examples` is the size of the validation split. The result depends on finished
    trials only, so all processes that share a study compute the same round.
    """
    last = rounds[-1]
    index = [configured.name for configured in settings.rounds].index(last.name)
    same_name = [i for i, search_round in enumerate(rounds) if search_round.name == last.name]
    pool = [trial for trial in trials if trial.round in same_name]
    good_trials = top_trials(pool, settings, n=last.trials, examples=examples)
    widenings = sum(any(change.kind == "widened" for change in search_round.moves) for search_round in rounds)
    if widenings < settings.max_widenings:
        edges = _edges_to_widen(last, rounds, pool, settings, all_broke=not good_trials, examples=examples)
        if any(edges.values()):
            changes = [change for i in same_name for change in rounds[i].moves]
            return _make_round(
                RoundConfig(last.name, last.trials, last.epochs),
                [_widen_or_keep(p, edges[p.key], changes) for p in last.parameters],
            )
    if index + 1 == len(settings.rounds) or not good_trials:
        return None
    narrowed = [narrow(p, good_trials, explored_range(p.key, rounds)) for p in last.parameters]
    return _make_round(settings.rounds[index + 1], narrowed)


def top_trials(pool: Sequence[Trial], settings: SearchSettings, *, n: int, examples: int) -> list[Trial]:
    """Return the best complete trials: the fraction `search.top_fraction` of a round's `n` trials, at least three."""
    ranking = rank_trials(list(pool), direction=settings.direction, examples=examples)
    return ranking[: max(MIN_GOOD_TRIALS, math.ceil(settings.top_fraction * n))]


def explored_range(key: str, rounds: Sequence[Round]) -> Parameter:
    """Return the parameter over the ranges of all rounds so far."""
    parameters = [p for search_round in rounds for p in search_round.parameters if p.key == key]
    return dataclasses.replace(parameters[-1], low=min(p.low for p in parameters), high=max(p.high for p in parameters))


def edge_of_best(
    parameter: Parameter, pool: Sequence[Trial], explored: Parameter, settings: SearchSettings, *, examples: int
) -> str:
    """Return `low` or `high` if the best trials lie at an edge beyond which nothing was tried, and otherwise `""`."""
    if parameter.kind == "choice":
        return ""
    pool = [trial for trial in pool if parameter.key in trial.params]
    positions = {t.number: parameter.to_unit(t.params[parameter.key]) for t in pool}
    inside = [trial for trial in pool if -1e-6 <= positions[trial.number] <= 1 + 1e-6]
    ranking = rank_trials(inside, direction=settings.direction, examples=examples)
    if len(ranking) < OUTERMOST:
        return ""
    best = {trial.number for trial in ranking[: math.ceil(len(inside) / 3)]}
    by_position = sorted(inside, key=lambda trial: positions[trial.number])
    for side, sign, outermost in [("high", 1, by_position[-OUTERMOST:]), ("low", -1, by_position[:OUTERMOST])]:
        is_unexplored = getattr(parameter, side) == getattr(explored, side) and can_widen(parameter, side)
        if is_unexplored and sum(trial.number in best for trial in outermost) >= 2:
            ranks = {trial.number: rank for rank, trial in enumerate(ranking)}
            quality = [
                -float(ranks.get(trial.number, len(ranking))) for trial in inside
            ]  # broken trials share the last
            trend = rank_correlation([positions[trial.number] for trial in inside], quality)
            if sign * trend * math.sqrt(len(inside) - 1) >= MIN_TREND:
                return side
    return ""


def rank_correlation(a: Sequence[float], b: Sequence[float]) -> float:
    """Return Spearman's rank correlation. Equal values share their mean rank; it is 0 if `a` or `b` is constant."""
    if len(set(a)) < 2 or len(set(b)) < 2:
        return 0.0
    from scipy.stats import spearmanr  # takes half a second to import, and most searches do not come here

    return float(spearmanr(a, b).statistic)


def _edges_to_widen(
    last: Round,
    rounds: Sequence[Round],
    pool: Sequence[Trial],
    settings: SearchSettings,
    *,
    all_broke: bool,
    examples: int,
) -> dict[str, str]:
    """Return the edge of each parameter beyond which its range is widened.

    If every training broke (`all_broke`), the learning rates are too high, and are widened downwards.
    """
    if all_broke:
        return {p.key: "low" if p.key.endswith("lr") and can_widen(p, "low") else "" for p in last.parameters}
    return {
        p.key: edge_of_best(p, pool, explored_range(p.key, rounds), settings, examples=examples)
        for p in last.parameters
    }


def _widen_or_keep(parameter: Parameter, side: str, changes: Sequence[RangeChange]) -> tuple[Parameter, RangeChange]:
    if not side:
        return keep(parameter)
    again = any((change.key, change.kind, change.edge) == (parameter.key, "widened", side) for change in changes)
    return widen(parameter, side, again=again)


def _make_round(configured: RoundConfig, changed: Sequence[tuple[Parameter | None, RangeChange]]) -> Round:
    parameters = tuple(parameter for parameter, _ in changed if parameter is not None)
    changes = tuple(change for _, change in changed)
    return Round(configured.name, parameters, configured.trials, configured.epochs, changes)
