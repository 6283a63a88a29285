"""Whether the best trial of a search is better than the second best: both are trained again with other seeds."""

from __future__ import annotations

import statistics
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pipeline.search.records import Search, Trial
from pipeline.search.results.analysis import is_number

SIGNIFICANCE_LEVEL = 0.05
"""A difference is called one if chance alone produces such a difference less often than this."""

ComparisonVerdict = Literal["better", "within_noise", "worse", "broken", "inconclusive", "single"]


@dataclass(frozen=True)
class RetrainJob:
    """A training to be done: the overrides of a trial, with another seed."""

    trial: int
    overrides: tuple[str, ...]
    seed: int


Retrain = Callable[[Sequence[RetrainJob]], Sequence[float | None]]
"""Trains each job as long as the trials of the last round, and returns the scores; None for a training that broke."""


@dataclass(frozen=True)
class RetrainedTrial:
    """One trial with several seeds."""

    trial: int
    searched: float
    """The score in the search, which is too good on average: the trial was chosen for it."""
    scores: tuple[float | None, ...]

    @property
    def known(self) -> list[float]:
        """The scores of trainings that did not break."""
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
    """The best trial (`winner`) and the second best (`runner_up`) with the same seeds."""

    verdict: ComparisonVerdict
    sentence: str
    chosen: int
    """The number of the trial to use."""
    seeds: tuple[int, ...]
    winner: RetrainedTrial
    runner_up: RetrainedTrial | None = None
    difference: float | None = None
    """Difference of the means, positive if the winner is better."""
    p: float | None = None
    """Probability of a difference at least as large by chance alone (Welch's t-test, two-sided)."""

    def as_dict(self) -> dict[str, Any]:
        """Return the content of final.json."""
        trained = [
            {"trial": r.trial, "searched": r.searched, "scores": list(r.scores), "mean": r.mean, "spread": r.spread}
            for r in (self.winner, self.runner_up)
            if r is not None
        ]
        fields = {key: getattr(self, key) for key in ("verdict", "sentence", "chosen", "difference", "p")}
        return fields | {"seeds": list(self.seeds), "trained": trained}

    def retrained(self, trial: int) -> RetrainedTrial | None:
        """Return the retrained trial of that number, or None if it is neither the winner nor the runner-up."""
        return next((r for r in (self.winner, self.runner_up) if r is not None and r.trial == trial), None)


def compare_best_two(search: Search, retrain: Retrain, *, seeds: int) -> SeedComparison | None:
    """Train the two best trials with `seeds` seeds that the search did not use, and compare the scores.

    Return None if no trial is complete. The scores of the search do not count: the winner was chosen for its score,
    luck included. The test is not a paired one: what two trainings have in common through one seed is lost within a few
    steps of different learning rates, and of three pairs, two degrees of freedom remain.
    """
    best = _distinct_trials(search.ranking())[:2]
    if not best:
        return None
    first_seed = max(search.seed, *(trial.seed for trial in search.trials)) + 1
    new_seeds = tuple(range(first_seed, first_seed + seeds))
    jobs = [RetrainJob(trial.number, trial.overrides, seed) for trial in best for seed in new_seeds]
    scores = list(retrain(jobs))
    assert len(scores) == len(jobs)
    retrained = [
        RetrainedTrial(trial.number, trial.score or 0.0, tuple(scores[i * seeds : (i + 1) * seeds]))
        for i, trial in enumerate(best)
    ]
    return compare(*retrained, seeds=new_seeds, direction=search.direction)


def compare(
    winner: RetrainedTrial, runner_up: RetrainedTrial | None = None, *, seeds: tuple[int, ...], direction: str
) -> SeedComparison:
    """Compare the scores of two retrained trials."""

    def result(
        verdict: ComparisonVerdict, sentence: str, *, chosen: int = winner.trial, **numbers: float
    ) -> SeedComparison:
        return SeedComparison(verdict, sentence, chosen, seeds, winner, runner_up, **numbers)

    n_seeds = _format_seeds(seeds)
    if runner_up is None:
        return result(
            "single", f"Trial {winner.trial} is the only complete trial. Over {n_seeds} it scores {_format(winner)}."
        )
    for trial, other in [(winner, runner_up), (runner_up, winner)]:
        if n_broken := len(trial.scores) - len(trial.known):
            chosen = (other if len(other.known) > len(trial.known) else winner).trial
            sentence = f"Trial {trial.trial} broke with {n_broken} of {n_seeds}. Trial {chosen} is chosen."
            return result("broken", sentence, chosen=chosen)
    assert winner.mean is not None
    assert runner_up.mean is not None
    difference = (winner.mean - runner_up.mean) * (1 if direction == "maximize" else -1)
    means = (
        f"Over {n_seeds} trial {winner.trial} scores {_format(winner)} and trial {runner_up.trial} {_format(runner_up)}"
    )
    p = welch_p_value(winner.known, runner_up.known)
    if p is None:
        cause = "one seed does not show the noise" if len(seeds) < 2 else "the scores do not depend on the seed"
        return result("inconclusive", f"{means}; {cause}, so no test is possible.", difference=difference)
    chance = f"chance alone produces such a difference with probability {p:.2g}"
    if p >= SIGNIFICANCE_LEVEL:
        chosen = (winner if difference >= 0 else runner_up).trial
        sentence = f"The two are equal within seed noise. {means}; {chance}. Trial {chosen} is chosen."
        return result("within_noise", sentence, chosen=chosen, difference=difference, p=p)
    if difference > 0:
        return result("better", f"Trial {winner.trial} is better. {means}; {chance}.", difference=difference, p=p)
    sentence = (
        f"Trial {runner_up.trial} is better: the search preferred trial {winner.trial} by luck. {means}; {chance}."
    )
    return result("worse", sentence, chosen=runner_up.trial, difference=difference, p=p)


def welch_p_value(a: Sequence[float], b: Sequence[float]) -> float | None:
    """Return the two-sided p-value of Welch's t-test, or None if the samples show no spread."""
    if min(len(a), len(b)) < 2 or (len(set(a)) == 1 and len(set(b)) == 1):
        return None
    from scipy.stats import ttest_ind  # takes half a second to import

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # SciPy warns if one of the samples is constant
        return float(ttest_ind(a, b, equal_var=False).pvalue)


def _distinct_trials(trials: Sequence[Trial]) -> list[Trial]:
    """Return the trials without those whose parameters occurred before: they are no other choice."""
    seen: list[dict[str, Any]] = []
    distinct = []
    for trial in trials:
        if trial.params not in seen:
            seen.append(trial.params)
            distinct.append(trial)
    return distinct


def _format(retrained: RetrainedTrial) -> str:
    mean, spread = retrained.mean, retrained.spread
    if mean is None:
        return "nothing"
    return f"{mean:.4f}" + (f" ± {spread:.4f}" if spread is not None else "")


def _format_seeds(seeds: Sequence[int]) -> str:
    return f"{len(seeds)} seed{'s' if len(seeds) != 1 else ''}"
