"""What the trials of a search say beyond their ranking: was the range explored, does the best lie at an edge, which
sampler saw more. Pure: `Search` -> plain data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeGuard

from pipeline.search.records import BROKEN, COMPLETE, PRUNED, Parameter, Search, Trial

INFORMATIVE_STATES = (COMPLETE, BROKEN, PRUNED)
"""States of trials that say something about the place where they were."""
EDGE = 0.1
"""Share of a range, from either end, that counts as its edge."""


@dataclass(frozen=True)
class Gap:
    """The widest stretch of a parameter's range, in one round, in which nothing was tried."""

    key: str
    round: int
    low: float
    high: float
    share: float
    """Of the range; in log space where the parameter is."""
    chance: float
    """What as many uniformly random trials leave on average: with n of them H(n + 1) / (n + 1)."""
    decades: float | None
    """Its width in powers of ten, where the parameter is in log space."""


@dataclass(frozen=True)
class Edge:
    """The best trial lies at an end of its round's range: better values may lie beyond."""

    key: str
    end: str
    """`low` or `high`."""
    value: float
    bound: float


@dataclass(frozen=True)
class SamplerStats:
    """What one sampler made of its share of the first round."""

    sampler: str
    trials: int
    best: float | None
    distinct: dict[str, int]
    """How many different values of each parameter were tried."""
    gaps: dict[str, float]
    """The largest unexplored share of each parameter's range."""
    so_far: tuple[float, ...]
    """The best score after each of its trials, from the first that has one."""


def explored(search: Search, *, round: int | None = None) -> list[Trial]:
    """Trials that say something about their place, in the order of their numbers."""
    return [t for t in search.trials if t.state in INFORMATIVE_STATES and (round is None or t.round == round)]


def gaps(search: Search) -> list[Gap]:
    """The largest unexplored gap of each numeric parameter in each round that has begun."""
    found = []
    for number, about in enumerate(search.rounds):
        trials = explored(search, round=number)
        found += [gap for p in about.parameters if trials and (gap := gap_of(p, trials, round=number)) is not None]
    return found


def gap_of(parameter: Parameter, trials: Sequence[Trial], *, round: int) -> Gap | None:
    """The widest stretch between neighbouring values of the trials, ends of the range included; None for choices,
    where no trial has the parameter, and where no value is left between."""
    values = [v for t in trials if is_number(v := t.params.get(parameter.key))]
    if parameter.kind == "choice" or parameter.low >= parameter.high or not values:
        return None
    inside = sorted({v for v in values if parameter.low <= v <= parameter.high})
    ends = [parameter.low, *inside, parameter.high]
    places = [parameter.to_unit(value) for value in ends]
    widest = max(range(len(ends) - 1), key=lambda i: places[i + 1] - places[i])
    low, high, pieces = ends[widest], ends[widest + 1], len(values) + 1
    if low in inside and high in inside and high - low <= (parameter.step or (parameter.kind == "int")) * (1 + 1e-9):
        return None  # neighbours, with no value between them
    return Gap(
        key=parameter.key,
        round=round,
        low=low,
        high=high,
        share=places[widest + 1] - places[widest],
        chance=sum(1 / k for k in range(1, pieces + 1)) / pieces,
        decades=math.log10(high / low) if parameter.log else None,
    )


def untried_choices(search: Search) -> dict[str, list[str]]:
    """Choices that no trial of the first round took, by key; a later round may have dropped some on purpose."""
    missing = {}
    for parameter in search.rounds[0].parameters if search.rounds else ():
        seen = [t.params[parameter.key] for t in explored(search, round=0) if parameter.key in t.params]
        if rest := [str(choice) for choice in parameter.choices if choice not in seen]:
            missing[parameter.key] = rest
    return missing


def edges(search: Search) -> list[Edge]:
    """Parameters of which the best trial's value lies within `EDGE` of an end of the range of its round."""
    best = next(iter(search.ranking()), None)
    found: list[Edge] = []
    for p in search.rounds[best.round].parameters if best else ():
        value = best.params.get(p.key) if best else None
        if p.kind == "choice" or p.low >= p.high or not is_number(value):
            continue
        place = p.to_unit(value)
        if place <= EDGE or place >= 1 - EDGE:
            found.append(Edge(p.key, "low", value, p.low) if place <= EDGE else Edge(p.key, "high", value, p.high))
    return found


def sampler_stats(search: Search) -> list[SamplerStats]:
    """The samplers of the first round side by side, in the order in which they were first used."""
    trials = explored(search, round=0)
    found = []
    for sampler in dict.fromkeys(t.sampler for t in trials):
        own = [t for t in trials if t.sampler == sampler]
        parameters = search.rounds[0].parameters
        so_far = best_so_far(search, own)
        found.append(
            SamplerStats(
                sampler=sampler,
                trials=len(own),
                best=so_far[-1] if so_far else None,
                distinct={p.key: len({t.params[p.key] for t in own if p.key in t.params}) for p in parameters},
                gaps={p.key: gap.share for p in parameters if (gap := gap_of(p, own, round=0))},
                so_far=tuple(so_far),
            )
        )
    return found


def best_so_far(search: Search, trials: Sequence[Trial]) -> list[float]:
    """The best score after each trial, from the first that has one."""
    better = max if search.direction == "maximize" else min
    line: list[float] = []
    for trial in trials:
        if is_number(trial.score):
            line.append(better(line[-1], trial.score) if line else trial.score)
        elif line:
            line.append(line[-1])
    return line


def is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
