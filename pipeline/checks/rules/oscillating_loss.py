from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import ClassVar

from pipeline.checks.finding import Finding, Signals
from pipeline.checks.training_curves import Training, lr_remedy
from pipeline.validation import integer, number


@dataclass(frozen=True)
class OscillatingLoss:
    """Anti-pattern: a loss that goes up and down from epoch to epoch instead of down.

    Rule: the rises of the training loss from one epoch to the next, each less three standard errors of the two means,
    add up to less than `max_rises` of its whole fall. An epoch's standard error comes from the scatter of its steps, so
    that the noise of small batches is no oscillation. Where a typical update is below `min_ratio` of the weights, steps are
    not too long.
    """

    max_rises: float
    min_ratio: float
    min_epochs: int
    explains: ClassVar[tuple[str, ...]] = ("loss_plateau", "update_ratio_high", "underfitting")

    def __post_init__(self) -> None:
        number("max_rises", self.max_rises, above=0)
        number("min_ratio", self.min_ratio, above=0)
        integer("min_epochs", self.min_epochs, at_least=3)

    def __call__(self, signals: Signals) -> Finding | None:
        training = Training.if_finished(signals)
        epochs = [] if training is None else training.epoch_losses()
        if training is None or len(epochs) < self.min_epochs:
            return None
        ups = [max(0.0, b - a - 3 * math.hypot(c, d)) for (a, c), (b, d) in pairwise(epochs)]
        start, least = training.smoothed_loss(0.0), min(mean for mean, _ in epochs)
        ratios = training.typical_ratios().values()
        ratio = median(ratios) if ratios else None
        down = start - least
        if not down > 0.05 * abs(start) or sum(ups) <= self.max_rises * down or (ratio or math.inf) < self.min_ratio:
            return None
        times = sum(up > 0 for up in ups)
        small = signals["batch_size"] < 16
        return Finding(
            check="oscillating_loss",
            severity="warning",
            measured={"rises": sum(ups), "fall": down, "times": float(times)}
            | ({} if ratio is None else {"update_ratio": ratio}),
            expected=f"rises that add up to less than {self.max_rises:.0%} of the fall",
            message=f"From {start:.4g} the loss fell to {least:.4g} at best, and rose significantly after {times} "
            f"of {len(epochs)} epochs, by {sum(ups):.3g} together.",
            why="The steps are longer than the valley is wide: the rate is too high"
            + (", or the batch too small for it." if small else "."),
            remedy=(*(("data.batch_size=64",) if small else ()), *lr_remedy(signals, 0.1)),
            source="Goodfellow et al. 2016, Deep Learning, 8.3.1: violent oscillations show a rate too high",
        )
