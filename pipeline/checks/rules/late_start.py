from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pipeline.checks.finding import Finding, Signals
from pipeline.checks.training_curves import Training, medians
from pipeline.validation import integer, number

PIECES = 40
"""Stretches in which a curve is looked at: their medians hide the noise of a batch, and a start shows to 2.5 %."""


@dataclass(frozen=True)
class LateStart:
    """Anti-pattern: a loss that is flat for a while, and then falls all of a sudden.

    Rule: the loss leaves its first level (by `flat_tolerance` of it) within `max_flat_fraction` of the run, counted in steps or in summed
    rates (so that a warm-up is no waiting), or within `min_steps` steps, unless it moves slowly ever after: a tenth of the
    run must bring `min_sudden_drop` of the first loss for the start to be sudden.
    """

    max_flat_fraction: float
    min_steps: int
    flat_tolerance: float
    min_sudden_drop: float
    explains: ClassVar[tuple[str, ...]] = (
        "loss_plateau",
        "update_ratio_high",
        "update_ratio_low",
        "undertrained",
        "underfitting",
    )

    def __post_init__(self) -> None:
        number("max_flat_fraction", self.max_flat_fraction, above=0, below=1)
        integer("min_steps", self.min_steps, at_least=1)
        number("flat_tolerance", self.flat_tolerance, above=0, below=1)
        number("min_sudden_drop", self.min_sudden_drop, above=0, below=1)

    def __call__(self, signals: Signals) -> Finding | None:
        training = Training.if_finished(signals)
        if training is None or len(training.losses) < PIECES:
            return None
        levels = medians(training.losses, PIECES)
        first = min(levels[:2])  # the very first may be certainty that is unlearned at once
        start = next((i for i, level in enumerate(levels) if level < (1 - self.flat_tolerance) * first), None)
        if not first > 0 or start is None:
            return None
        rates = training.rates()
        waited = min(start / PIECES, sum(rates[: start * len(rates) // PIECES]) / sum(rates))
        tenth = PIECES // 10
        falls = zip(levels[start - 1 :], levels[start - 1 + tenth :], strict=False)
        fastest = max((a - b for a, b in falls), default=0.0)
        if (
            waited < self.max_flat_fraction
            or start * training.steps // PIECES < self.min_steps
            or fastest < self.min_sudden_drop * first
        ):
            return None
        step = start * training.steps // PIECES
        return Finding(
            check="late_start",
            severity="warning",
            measured={"flat_steps": float(step), "steps": float(training.steps), "level": first, "loss": levels[-1]},
            expected=f"a loss that leaves its first level within {self.max_flat_fraction:.0%} of the way",
            message=f"The loss stood at {first:.4g} for {step} of {training.steps} steps ({waited:.0%} of the way), "
            f"then fell by {fastest:.3g} within a tenth of the run.",
            why="Until the first layers had grown or left saturation, hardly any gradient reached them: the prime "
            "suspect is the initialization.",
            remedy=("init=he", "activation=relu", "batchnorm=before_activation"),
            source="lecture notes: loss flat for a while, then training starts suddenly => bad initialization",
            step=step,
        )
