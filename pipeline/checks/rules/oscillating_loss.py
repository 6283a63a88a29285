from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from pipeline.checks.finding import Finding
from pipeline.checks.not_checked import LOSS_NEEDS
from pipeline.checks.rule import Rule
from pipeline.checks.training_curves import FINISHED_KEYS, Training, lr_remedy
from pipeline.signals.schema import Signals
from pipeline.validation import integer, number


@dataclass(frozen=True)
class OscillatingLoss(Rule):
    """Anti-pattern: a loss that goes up and down from epoch to epoch instead of down.

    Fires when the rises of the training loss from one epoch to the next, each less three standard errors of the two
    means, add up to more than `max_rises` of its whole drop, over at least `min_epochs` epochs. An epoch's standard
    error comes from the scatter of its steps, so that the noise of small batches is no oscillation. Silent where a
    typical update is below `min_ratio` of the weights: such steps are not too long.
    """

    check = "oscillating_loss"
    reads = (*FINISHED_KEYS, "steps_per_entry", "samples", "batch_size", "lr")
    needs = (*LOSS_NEEDS, "epochs.loss>=min_epochs")
    severities = ("warning",)
    why = "The steps are longer than the valley is wide: the learning rate is too high, or the batch too small for it."
    source = "Goodfellow et al. 2016, Deep Learning, 8.3.1: violent oscillations show a rate too high"
    remedies = ("data.batch_size=64", "optimizer.lr=...")
    advice = "Lower the learning rate, or take larger batches."
    code = 'for group in optimizer.param_groups: group["lr"] /= 10'
    explains = ("loss_plateau", "update_ratio_high", "underfitting")

    max_rises: float
    min_ratio: float
    min_epochs: int

    def __post_init__(self) -> None:
        number("max_rises", self.max_rises, above=0)
        number("min_ratio", self.min_ratio, above=0)
        integer("min_epochs", self.min_epochs, at_least=3)

    def __call__(self, signals: Signals) -> Finding | None:
        training = Training.if_finished(signals, needs_classes=False)
        epochs = [] if training is None else training.epoch_losses()
        if training is None or len(epochs) < self.min_epochs:
            return None
        rises = [max(0.0, b - a - 3 * math.hypot(c, d)) for (a, c), (b, d) in pairwise(epochs)]
        first, lowest = training.smoothed_loss(0.0), min(mean for mean, _ in epochs)
        ratios = training.median_update_ratios().values()
        ratio = median(ratios) if ratios else None
        drop = first - lowest
        if not drop > 0.05 * abs(first) or sum(rises) <= self.max_rises * drop or (ratio or math.inf) < self.min_ratio:
            return None
        times = sum(rise > 0 for rise in rises)
        return self.finding(
            "warning",
            measured={"rises": sum(rises), "fall": drop, "times": float(times)}
            | ({} if ratio is None else {"update_ratio": ratio}),
            expected=f"rises that add up to less than {self.max_rises:.0%} of the drop",
            message=f"From {first:.4g} the loss fell to {lowest:.4g} at best, and rose significantly after {times} "
            f"of {len(epochs)} epochs, by {sum(rises):.3g} together.",
            remedy=(*(("data.batch_size=64",) if signals.get("batch_size", 16) < 16 else ()), *lr_remedy(signals, 0.1)),
        )
