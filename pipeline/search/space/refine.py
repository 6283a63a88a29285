"""From one round to the next: narrow each range around the good trials, or widen it where they lie at its edge."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from statistics import correlation

from pipeline.search.records import Parameter, RangeChange, Round, Trial, ranked
from pipeline.search.settings import RoundConfig, SearchSettings

AT_LEAST = 3
"""Good trials: fewer say nothing about a region."""
OUTERMOST = 3
"""Trials nearest to an end of a range: the best lie at that edge where two of them are among the best third, ..."""
TREND = 1.65
"""... and scores rise towards it: the rank correlation is so many of its standard errors, 1 / sqrt(n - 1). Where a
parameter does not matter, both happen by chance in about one round of twenty; then a wider range costs trials only."""
DECADES = 1, 2
"""By which a range is widened at first, and again to the same side. With more, most of the trials of a round lie where
every training breaks, and the good rates are few in what is left."""
MARGIN = 0.1
"""Of the good trials' span, added on both sides."""
NARROWEST = 0.1
"""Of the range before: a region that few trials make narrower is luck."""


def next_round(
    rounds: Sequence[Round], trials: Sequence[Trial], settings: SearchSettings, *, examples: int
) -> Round | None:
    """The round after `rounds`, or None after the last. A function of what is finished, so that all who share a study
    come to the same."""
    last = rounds[-1]
    begun = [stretch.name for stretch in settings.rounds]
    place = begun.index(last.name)
    same = [i for i, round in enumerate(rounds) if round.name == last.name]
    pool = [trial for trial in trials if trial.round in same]
    good = top_trials(pool, settings, n=last.trials, examples=examples)
    widened = sum(any(move.kind == "widened" for move in round.moves) for round in rounds)
    edges = {
        p.key: edge_of_best(p, pool, explored(p.key, rounds), settings, examples=examples) for p in last.parameters
    }
    if not good:  # where every training broke off, rates are too high
        edges = {p.key: "low" if p.key.endswith("lr") and _can_widen(p, "low") else "" for p in last.parameters}
    if any(edges.values()) and widened < settings.max_widenings:
        moves = [move for i in same for move in rounds[i].moves]
        wider = [_widen(p, edges[p.key], again=_widened(p.key, edges[p.key], moves)) for p in last.parameters]
        return _round(RoundConfig(last.name, last.trials, last.epochs), wider)
    if place + 1 == len(begun) or not good:
        return None
    narrower = [_narrow(p, good, explored(p.key, rounds)) for p in last.parameters]
    return _round(settings.rounds[place + 1], narrower)


def top_trials(pool: Sequence[Trial], settings: SearchSettings, *, n: int, examples: int) -> list[Trial]:
    """The best of the finished trials: the share `keep` of a round's `n`, three at least, none that broke."""
    best = ranked(list(pool), direction=settings.direction, examples=examples)
    return best[: max(AT_LEAST, math.ceil(settings.top_fraction * n))]


def explored(key: str, rounds: Sequence[Round]) -> Parameter:
    """The parameter over all that rounds have covered so far."""
    same = [p for round in rounds for p in round.parameters if p.key == key]
    return dataclasses.replace(same[-1], low=min(p.low for p in same), high=max(p.high for p in same))


def edge_of_best(
    parameter: Parameter, pool: Sequence[Trial], whole: Parameter, settings: SearchSettings, *, examples: int
) -> str:
    """`low` or `high` where the best of the trials lie at an edge beyond which nothing was tried; otherwise empty."""
    if parameter.kind == "choice":
        return ""
    pool = [trial for trial in pool if parameter.key in trial.params]
    at = {t.number: parameter.to_unit(t.params[parameter.key]) for t in pool}
    inside = [trial for trial in pool if -1e-6 <= at[trial.number] <= 1 + 1e-6]
    order = ranked(inside, direction=settings.direction, examples=examples)
    if len(order) < OUTERMOST:
        return ""
    worst = len(order)  # shared by all that broke
    places = {trial.number: place for place, trial in enumerate(order)}
    quality = [-float(places.get(trial.number, worst)) for trial in inside]
    positions = [at[trial.number] for trial in inside]
    trend = _rank_correlation(positions, quality) * math.sqrt(len(inside) - 1)
    best = {trial.number for trial in order[: math.ceil(len(inside) / 3)]}
    by_position = sorted(inside, key=lambda trial: at[trial.number])
    for side, sign, outermost in [("high", 1, by_position[-OUTERMOST:]), ("low", -1, by_position[:OUTERMOST])]:
        unexplored = getattr(parameter, side) == getattr(whole, side) and _can_widen(parameter, side)
        if unexplored and sign * trend >= TREND and sum(trial.number in best for trial in outermost) >= 2:
            return side
    return ""


def _rank_correlation(a: Sequence[float], b: Sequence[float]) -> float:
    """Spearman's: the correlation of the ranks, equal values sharing their mean rank. 0 where one is constant."""
    if len(set(a)) < 2 or len(set(b)) < 2:
        return 0.0
    return correlation(_ranks(a), _ranks(b))


def _ranks(values: Sequence[float]) -> list[float]:
    order = sorted(values)
    return [order.index(value) + (order.count(value) - 1) / 2 for value in values]


def _can_widen(parameter: Parameter, side: str) -> bool:
    low, high = _bounds(parameter)
    return parameter.high < high if side == "high" else parameter.low > low


def _bounds(parameter: Parameter) -> tuple[float, float]:
    """Beyond which no range is widened: zero, and for a share, such as dropout or momentum, one."""
    if parameter.log:
        return (1 if parameter.kind == "int" else 0.0), math.inf
    low = min(1.0, parameter.low) if parameter.low >= 0 else -math.inf
    low = 0.0 if parameter.kind == "float" and parameter.low >= 0 else low
    share = parameter.kind == "float" and parameter.low >= 0 and parameter.high <= 1
    return low, 1.0 if share else math.inf


def _widened(key: str, side: str, moves: Sequence[RangeChange]) -> bool:
    """Whether the range was widened to that side before."""
    return any((move.key, move.kind, move.edge) == (key, "widened", side) for move in moves)


def _widen(parameter: Parameter, side: str, *, again: bool) -> tuple[Parameter, RangeChange]:
    """Beyond the edge: in log space by `DECADES`, otherwise by the range's own width; a quarter of the range before
    stays, so that the good trials have neighbours on both sides."""
    if not side:
        return parameter, RangeChange(parameter.key, "kept", "", f"{parameter.key} kept: {_shown(parameter)}")
    width = parameter.high - parameter.low
    least, most = _bounds(parameter)
    if parameter.log:
        whole = parameter.kind == "int"  # such as a width: what a trial costs grows with it
        factor = 10.0 ** DECADES[again and not whole]
        low = parameter.from_unit(0.75) if side == "high" else parameter.low / factor
        high = parameter.high * factor if side == "high" else parameter.from_unit(0.25)
    else:
        low = parameter.from_unit(0.75) if side == "high" else parameter.low - width
        high = parameter.high + width if side == "high" else parameter.from_unit(0.25)
    wide = _fitted(parameter, max(low, least), min(high, most))
    where = f"at or beyond the {side} edge of {_shown(parameter)}"
    said = f"{parameter.key} widened: the best lie {where}, next {_shown(wide)}"
    return wide, RangeChange(parameter.key, "widened", side, said)


def _narrow(parameter: Parameter, good: Sequence[Trial], whole: Parameter) -> tuple[Parameter | None, RangeChange]:
    """None where nothing is left to vary."""
    values = [trial.params[parameter.key] for trial in good if parameter.key in trial.params]
    if not values:  # a key of options that no good trial has, and the next round neither
        return None, RangeChange(parameter.key, "dropped", "", f"{parameter.key} dropped: no good trial has it")
    if parameter.kind == "choice":
        kept = tuple(choice for choice in parameter.choices if choice in values)
        kind = "narrowed" if len(kept) < len(parameter.choices) else "kept"
        names = ", ".join(str(choice) for choice in kept)
        return dataclasses.replace(parameter, choices=kept), RangeChange(
            parameter.key, kind, "", f"{parameter.key} {kind}: {names}"
        )
    at = [whole.to_unit(value) for value in values]
    last = whole.to_unit(parameter.high) - whole.to_unit(parameter.low)
    span = max(at) - min(at)
    margin = max(MARGIN * span, (NARROWEST * last - span) / 2)
    narrow = _fitted(
        parameter, whole.from_unit(max(0.0, min(at) - margin)), whole.from_unit(min(1.0, max(at) + margin))
    )
    side = next((side for side in ("low", "high") if getattr(narrow, side) == getattr(whole, side)), "")
    said = f"{parameter.key} narrowed: {_shown(whole)} to {_shown(narrow)}"
    return narrow, RangeChange(parameter.key, "narrowed", side, said)


def _fitted(parameter: Parameter, low: float, high: float) -> Parameter:
    """The range with bounds of three digits, in whole steps."""
    if parameter.step:
        origin, step = parameter.low, parameter.step
        low = origin + math.floor((low - origin) / step + 1e-9) * step
        high = origin + math.ceil((high - origin) / step - 1e-9) * step
        low, high = float(f"{low:.12g}"), float(f"{high:.12g}")
    elif parameter.kind == "float":
        low, high = _outwards(low, math.floor), _outwards(high, math.ceil)
    if parameter.kind == "int":
        low, high = math.floor(low), math.ceil(high)
    return dataclasses.replace(parameter, low=low, high=high)


def _outwards(value: float, rounded: object) -> float:
    if value == 0 or not math.isfinite(value):
        return value
    scale = 10.0 ** (2 - math.floor(math.log10(abs(value))))
    return float(f"{rounded(value * scale - 1e-9 if rounded is math.ceil else value * scale + 1e-9) / scale:.6g}")  # type: ignore[operator]


def _shown(parameter: Parameter) -> str:
    return f"{parameter.low:.3g} .. {parameter.high:.3g}"


def _round(stretch: RoundConfig, moved: Sequence[tuple[Parameter | None, RangeChange]]) -> Round:
    parameters = tuple(parameter for parameter, _ in moved if parameter is not None)
    return Round(stretch.name, parameters, stretch.trials, stretch.epochs, tuple(move for _, move in moved))
