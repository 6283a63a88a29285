"""What the trials of a search show beyond their ranking: gaps, edges, and a comparison of samplers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeGuard

from pipeline.search.records import BROKEN, COMPLETE, PRUNED, Parameter, Search, Trial

INFORMATIVE_STATES = (COMPLETE, BROKEN, PRUNED)
"""States of trials that have tried their parameters. A crashed or killed trial says nothing about them."""
EDGE_FRACTION = 0.1
"""Fraction of a range, from either end, that counts as its edge."""


@dataclass(frozen=True)
class Gap:
    """The widest part of a parameter's range, in one round, without a trial."""

    key: str
    round: int
    """Index of the round."""
    low: float
    high: float
    share: float
    """Width as a fraction of the range; in log space if the parameter is."""
    chance: float
    """Mean width of the widest gap of as many uniformly random trials: with n of them H(n + 1) / (n + 1), where H are
    the harmonic numbers."""
    decades: float | None
    """Width in powers of ten, if the parameter is in log space."""


@dataclass(frozen=True)
class Edge:
    """The end of its round's range at which the best trial lies: better values may lie beyond it."""

    key: str
    end: str
    """`low` or `high`."""
    value: float
    bound: float


@dataclass(frozen=True)
class SamplerStats:
    """The trials of one sampler in the first round."""

    sampler: str
    trials: int
    best: float | None
    distinct: dict[str, int]
    """Number of different values of each parameter."""
    gaps: dict[str, float]
    """Widest gap of each parameter, as a fraction of its range."""
    best_so_far: tuple[float, ...]
    """Best score after each trial, from the first trial that has one."""


def informative_trials(search: Search, *, round_index: int | None = None) -> list[Trial]:
    """Return the trials (of one round) that have tried their parameters, in the order of their numbers."""
    return [
        trial
        for trial in search.trials
        if trial.state in INFORMATIVE_STATES and (round_index is None or trial.round == round_index)
    ]


def find_gaps(search: Search) -> list[Gap]:
    """Return the widest gap of each numeric parameter in each round that has trials."""
    gaps = []
    for round_index, search_round in enumerate(search.rounds):
        trials = informative_trials(search, round_index=round_index)
        for parameter in search_round.parameters:
            if trials and (gap := widest_gap(parameter, trials, round_index=round_index)) is not None:
                gaps.append(gap)
    return gaps


def widest_gap(parameter: Parameter, trials: Sequence[Trial], *, round_index: int) -> Gap | None:
    """Return the widest part of the range between neighbouring values of the trials, or between a value and an end.

    Return None for choices, if no trial has the parameter, and if no value is left between neighbours.
    """
    values = [v for t in trials if is_number(v := t.params.get(parameter.key))]
    if parameter.kind == "choice" or parameter.low >= parameter.high or not values:
        return None
    inside = sorted({v for v in values if parameter.low <= v <= parameter.high})
    ends = [parameter.low, *inside, parameter.high]
    positions = [parameter.to_unit(value) for value in ends]
    widest = max(range(len(ends) - 1), key=lambda i: positions[i + 1] - positions[i])
    low, high, n_parts = ends[widest], ends[widest + 1], len(values) + 1
    if low in inside and high in inside and high - low <= (parameter.step or (parameter.kind == "int")) * (1 + 1e-9):
        return None  # neighbours without a value between them
    return Gap(
        key=parameter.key,
        round=round_index,
        low=low,
        high=high,
        share=positions[widest + 1] - positions[widest],
        chance=sum(1 / k for k in range(1, n_parts + 1)) / n_parts,
        decades=math.log10(high / low) if parameter.log else None,
    )


def untried_choices(search: Search) -> dict[str, list[str]]:
    """Return the choices that no trial of the first round has, by key. A later round drops choices on purpose."""
    untried = {}
    for parameter in search.rounds[0].parameters if search.rounds else ():
        trials = informative_trials(search, round_index=0)
        tried = [t.params[parameter.key] for t in trials if parameter.key in t.params]
        if missing := [str(choice) for choice in parameter.choices if choice not in tried]:
            untried[parameter.key] = missing
    return untried


def find_edges(search: Search) -> list[Edge]:
    """Return an edge for each parameter whose best value lies within `EDGE_FRACTION` of an end of its round's range."""
    best = next(iter(search.ranking()), None)
    if best is None:
        return []
    edges = []
    for p in search.rounds[best.round].parameters:
        value = best.params.get(p.key)
        if p.kind == "choice" or p.low >= p.high or not is_number(value):
            continue
        position = p.to_unit(value)
        if position <= EDGE_FRACTION:
            edges.append(Edge(p.key, "low", value, p.low))
        elif position >= 1 - EDGE_FRACTION:
            edges.append(Edge(p.key, "high", value, p.high))
    return edges


def sampler_stats(search: Search) -> list[SamplerStats]:
    """Return the statistics of each sampler of the first round, in the order in which they were first used."""
    all_trials = informative_trials(search, round_index=0)
    stats = []
    for sampler in dict.fromkeys(t.sampler for t in all_trials):
        trials = [t for t in all_trials if t.sampler == sampler]
        parameters = search.rounds[0].parameters
        best_scores = best_so_far(search, trials)
        stats.append(
            SamplerStats(
                sampler=sampler,
                trials=len(trials),
                best=best_scores[-1] if best_scores else None,
                distinct={p.key: len({t.params[p.key] for t in trials if p.key in t.params}) for p in parameters},
                gaps={p.key: gap.share for p in parameters if (gap := widest_gap(p, trials, round_index=0))},
                best_so_far=tuple(best_scores),
            )
        )
    return stats


def best_so_far(search: Search, trials: Sequence[Trial]) -> list[float]:
    """Return the best score after each trial, from the first trial that has one."""
    better = max if search.direction == "maximize" else min
    best_scores: list[float] = []
    for trial in trials:
        if is_number(trial.score):
            best_scores.append(better(best_scores[-1], trial.score) if best_scores else trial.score)
        elif best_scores:
            best_scores.append(best_scores[-1])
    return best_scores


def is_number(value: object) -> TypeGuard[float]:
    """Whether `value` is a finite number, and no bool."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
