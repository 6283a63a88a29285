"""Is the winner of a search better than the runner-up, or was it luck? Both are trained again with other seeds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pipeline.search.records import Search, Trial
from pipeline.search.results.analysis import is_number

LEVEL = 0.05
"""A difference that luck alone would bring about more rarely than this is called a difference."""

Verdict = Literal["better", "within_noise", "worse", "broken", "untold", "alone"]


@dataclass(frozen=True)
class RetrainJob:
    """One training to be done: a trial's overrides with another seed."""

    trial: int
    overrides: tuple[str, ...]
    seed: int


Retrain = Callable[[Sequence[RetrainJob]], Sequence[float | None]]
"""Trains every job as long as the last round's trials, and gives the score of each; None where it broke."""


@dataclass(frozen=True)
class RetrainedTrial:
    """One trial over the seeds."""

    trial: int
    searched: float
    """Its score in the search, which is lucky where it was chosen for being high."""
    scores: tuple[float | None, ...]

    @property
    def known(self) -> list[float]:
        return [score for score in self.scores if is_number(score)]

    @property
    def mean(self) -> float | None:
        return statistics.fmean(self.known) if self.known else None

    @property
    def spread(self) -> float | None:
        """Sample standard deviation over the seeds."""
        return statistics.stdev(self.known) if len(self.known) > 1 else None


@dataclass(frozen=True)
class SeedComparison:
    """What the seeds say about winner and runner-up; `chosen` is the trial to keep."""

    verdict: Verdict
    sentence: str
    chosen: int
    seeds: tuple[int, ...]
    winner: RetrainedTrial
    runner_up: RetrainedTrial | None = None
    difference: float | None = None
    """Of the means, positive where the winner is better."""
    p: float | None = None
    """How often luck alone would bring about a difference as large (Welch's t-test, two-sided)."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        told = [r for r in (self.winner, self.runner_up) if r is not None]
        trained = [
            {"trial": r.trial, "searched": r.searched, "scores": list(r.scores), "mean": r.mean, "spread": r.spread}
            for r in told
        ]
        plain = {key: getattr(self, key) for key in ("verdict", "sentence", "chosen", "difference", "p")}
        return plain | {"seeds": list(self.seeds), "trained": trained}


def compare_best_two(search: Search, retrain: Retrain, *, seeds: int) -> SeedComparison | None:
    """Train the two best trials with `seeds` seeds that the search did not use. None where no trial is complete.

    The search's own scores do not count: the winner was chosen for its score, luck included. Welch's test, not a paired
    one: what two trainings have in common through one seed is lost within a few steps of different rates, and of three
    pairs, two degrees of freedom are left.
    """
    best = _distinct(search.ranking())[:2]
    if not best:
        return None
    used = {search.seed, *(trial.seed for trial in search.trials)}
    first = max(used) + 1
    fresh = tuple(range(first, first + seeds))
    jobs = [RetrainJob(trial.number, trial.overrides, seed) for trial in best for seed in fresh]
    scores = list(retrain(jobs))
    assert len(scores) == len(jobs)
    trained = [
        RetrainedTrial(trial.number, trial.score or 0.0, tuple(scores[i * seeds : (i + 1) * seeds]))
        for i, trial in enumerate(best)
    ]
    return compare(*trained, seeds=fresh, direction=search.direction)


def compare(
    winner: RetrainedTrial, runner_up: RetrainedTrial | None = None, *, seeds: tuple[int, ...], direction: str
) -> SeedComparison:
    """The verdict on scores that are there."""

    def told(verdict: Verdict, sentence: str, *, chosen: int = winner.trial, **numbers: float) -> SeedComparison:
        return SeedComparison(verdict, sentence, chosen, seeds, winner, runner_up, **numbers)

    name = f"Trial {winner.trial}"
    if runner_up is None:
        return told("alone", f"{name} is the only complete trial; over {_seeds(seeds)} it scores {_range(winner)}.")
    for one, other in [(winner, runner_up), (runner_up, winner)]:
        if broke := len(one.scores) - len(one.known):
            chosen = other if len(other.known) > len(one.known) else winner
            sentence = f"Trial {one.trial} broke with {broke} of {_seeds(seeds)}; trial {chosen.trial} is kept."
            return told("broken", sentence, chosen=chosen.trial)
    assert winner.mean is not None
    assert runner_up.mean is not None
    difference = (winner.mean - runner_up.mean) * (1 if direction == "maximize" else -1)
    both = f"{_range(winner)} against {_range(runner_up)} of trial {runner_up.trial} over {_seeds(seeds)}"
    p = welch_p_value(winner.known, runner_up.known)
    if p is None:
        same = "one seed says" if len(seeds) < 2 else "no seed changes a score, which says"
        sentence = f"{name}: {both}; {same} nothing about noise, so the difference is left open."
        return told("untold", sentence, difference=difference)
    chance = f"luck alone brings about as much with probability {p:.2g}"
    if p >= LEVEL:
        kept = winner if difference >= 0 else runner_up
        sentence = f"{name} and trial {runner_up.trial} are equal within seed noise: {both}; {chance}. "
        sentence += f"Trial {kept.trial} is kept."
        return told("within_noise", sentence, chosen=kept.trial, difference=difference, p=p)
    if difference > 0:
        return told("better", f"{name} is better: {both}; {chance}.", difference=difference, p=p)
    sentence = f"Trial {runner_up.trial} is better than trial {winner.trial}, which won by luck: {both}; {chance}."
    return told("worse", sentence, chosen=runner_up.trial, difference=difference, p=p)


def welch_p_value(a: Sequence[float], b: Sequence[float]) -> float | None:
    """Two-sided p of Welch's t-test: how often samples of one mean would differ as much. None without any spread."""
    if min(len(a), len(b)) < 2:
        return None
    errors = [statistics.variance(sample) / len(sample) for sample in (a, b)]
    if sum(errors) == 0:
        return None
    t = (statistics.fmean(a) - statistics.fmean(b)) / math.sqrt(sum(errors))
    degrees = sum(errors) ** 2 / sum(e**2 / (len(s) - 1) for e, s in zip(errors, (a, b), strict=True))
    return 2 * _student_tail(abs(t), degrees)


def _student_tail(t: float, degrees: float, *, panels: int = 2000) -> float:
    """Probability that Student's t exceeds `t` >= 0. With x = sqrt(v) tan(u) its density is cos(u)^(v - 1) du, up to a
    constant: smooth and on a bounded interval, where Simpson's rule is exact to many digits."""
    constant = math.exp(math.lgamma((degrees + 1) / 2) - math.lgamma(degrees / 2)) / math.sqrt(math.pi)
    start, end = math.atan(t / math.sqrt(degrees)), math.pi / 2
    step = (end - start) / panels
    heights = [max(math.cos(start + i * step), 0.0) ** (degrees - 1) for i in range(panels + 1)]
    weighted = heights[0] + heights[-1] + 4 * sum(heights[1:-1:2]) + 2 * sum(heights[2:-1:2])
    return constant * weighted * step / 3


def _distinct(trials: Sequence[Trial]) -> list[Trial]:
    """Without later trials of the same parameters, which say nothing about another choice."""
    seen: list[dict[str, Any]] = []
    kept = []
    for trial in trials:
        if trial.params not in seen:
            seen.append(trial.params)
            kept.append(trial)
    return kept


def _range(trained: RetrainedTrial) -> str:
    mean, spread = trained.mean, trained.spread
    if mean is None:
        return "nothing"
    return f"{mean:.4f}" + (f" ± {spread:.4f}" if spread is not None else "")


def _seeds(seeds: Sequence[int]) -> str:
    return f"{len(seeds)} seed{'s' if len(seeds) != 1 else ''}"
