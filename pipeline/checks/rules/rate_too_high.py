from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import median
from typing import Any, ClassVar

from pipeline.checks.finding import Finding, Signals
from pipeline.checks.training_curves import (
    Training,
    lr_remedy,
    medians,
    nearest_power_of_ten,
    standard_error,
    to_floats,
)
from pipeline.validation import number


@dataclass(frozen=True)
class RateTooHigh:
    """Anti-pattern: steps so long that the network forgets what it had learned, or never gets hold of anything.

    Rule: while training, accuracy on training examples does not end `max_accuracy_drop` below its best (and three standard
    errors); and a network that ends without having learned much has neither seen its smoothed loss rise to `max_smoothed_loss_ratio`
    times the first one, nor by `max_loss_regression` of its fall above the least, nor updates above `max_ratio` of the weights. On a
    few examples, where they were not learned, no lower rate learns them, and no step's loss exceeded `max_overfit_loss_ratio` times
    the first one.
    """

    max_accuracy_drop: float
    max_loss_regression: float
    max_smoothed_loss_ratio: float
    max_ratio: float
    max_overfit_loss_ratio: float
    explains: ClassVar[tuple[str, ...]] = (
        "dead_units",
        "vanishing_activations",
        "nonfinite",
        "cannot_overfit",
        "late_start",
        "oscillating_loss",
        "train_eval_mismatch",
        "loss_plateau",
        "overfitting",
        "update_ratio_high",
        "update_ratio_low",
        "undertrained",
        "underfitting",
    )

    def __post_init__(self) -> None:
        number("max_accuracy_drop", self.max_accuracy_drop, above=0, below=1)
        number("max_loss_regression", self.max_loss_regression, above=0, below=1)
        number("max_smoothed_loss_ratio", self.max_smoothed_loss_ratio, above=1)
        number("max_ratio", self.max_ratio, above=0)
        number("max_overfit_loss_ratio", self.max_overfit_loss_ratio, above=1)

    def __call__(self, signals: Signals) -> Finding | None:
        if "overfit_reached" in signals:
            return self._overfit(signals)
        training = Training.if_finished(signals)
        return None if training is None else self._train(training)

    def _overfit(self, signals: Signals) -> Finding | None:
        losses = to_floats(signals.get("losses", ()))
        other, rate = to_floats((signals.get("overfit_other_rate"), signals.get("lr")))
        if 0 < other < rate:
            return self._finding(
                signals,
                severity="failure",
                measured={"lr": rate, "other_lr": other, "steps": float(signals["overfit_other_steps"])},
                expected="a few examples learned by heart at the configured rate",
                message=f"At the rate {rate:.3g} a few examples cannot be learned by heart; at {other:.3g} they are, "
                f"in {signals['overfit_other_steps']} steps.",
                factor=other / rate,
            )
        if signals["overfit_reached"] or not losses or not losses[0] > 0:
            return None
        place = next((i for i, loss in enumerate(losses) if not loss <= self.max_overfit_loss_ratio * losses[0]), None)
        if place is None or math.isnan(losses[place]):  # a NaN out of nothing is nonfinite's
            return None
        return self._finding(
            signals,
            severity="failure",
            measured={"first_loss": losses[0], "loss": losses[place], "last_loss": losses[-1]},
            expected=f"no step above {self.max_overfit_loss_ratio:g} x the first loss {losses[0]:.4g}",
            message=f"At step {place + 1} the loss on a few examples is {losses[place]:.4g}, up from {losses[0]:.4g}, "
            f"and it ends at {losses[-1]:.4g}: the steps overshoot.",
            step=place + 1,
            factor=0.01 if place < 5 else 0.1,
        )

    def _train(self, training: Training) -> Finding | None:
        seen = [("probe_accuracy", training.probe_examples), ("accuracy", training.examples_an_epoch)]
        for name, examples in seen:
            values, last = training.column(name), training.last(name)
            if last is None:
                continue
            best = max(values)
            error = math.hypot(standard_error(best, examples), standard_error(last, examples))
            if best - last > self.max_accuracy_drop + 3 * error:
                return self._finding(
                    training.signals,
                    severity=_severity(training, last),
                    measured={"best": best, "last": last, "standard_error": error},
                    expected=f"training examples at the end at most {self.max_accuracy_drop:g} worse than at best",
                    message=f"{best:.1%} of the training examples were right after epoch {values.index(best) + 1}, "
                    f"{last:.1%} are at the end: it has forgotten what it had learned.",
                )
        return self._never_held(training)

    def _never_held(self, training: Training) -> Finding | None:
        last = training.final_train_accuracy()
        if last is None or training.normalized_accuracy(last) >= 0.5:
            return None
        first, highest = abs(training.losses[0]), max(medians(training.losses, 20))
        ratios = training.typical_ratios()
        ratio = median(ratios.values()) if ratios else 0.0
        if (
            ratio <= self.max_ratio
            and highest <= self.max_smoothed_loss_ratio * first
            and not self._climbed_again(training)
        ):
            return None
        return self._finding(
            training.signals,
            severity=_severity(training, last),
            measured={"highest_loss": highest, "first_loss": first, "update_ratio": ratio, "accuracy": last},
            expected=f"updates below {self.max_ratio:g} of the weights and a loss below {self.max_smoothed_loss_ratio:g} x the first",
            message=f"From {first:.4g} the loss went up to {highest:.4g} (smoothed) and ended at "
            f"{training.smoothed_loss(1.0):.4g}; a typical update is {ratio:.2g} of the weights; {last:.1%} of the "
            "training examples are right at the end.",
            factor=nearest_power_of_ten(3e-3, max(ratio, 1e-2)),
        )

    def _climbed_again(self, training: Training) -> bool:
        """Whether the loss ended `max_loss_regression` of its fall above its least epoch, by three standard errors."""
        epochs = training.epoch_losses()
        if len(epochs) < 4:
            return False
        (first, _), (least, error), (last, last_error) = epochs[0], min(epochs), epochs[-1]
        first = max(first, training.signals.get("chance_loss") or first)
        if not first - least > 0.05 * abs(first):  # nothing had been gained that could be lost
            return False
        return last - least > max(self.max_loss_regression * (first - least), 3 * math.hypot(error, last_error))

    def _finding(self, signals: Signals, *, factor: float = 0.1, **fields: Any) -> Finding:
        return Finding(
            check="rate_too_high",
            why="A step that is longer than the valley is wide lands higher on the other side; the weights grow or its "
            "units die, and lower rates later cannot bring them back.",
            remedy=lr_remedy(signals, factor),
            source="lecture notes: loss exploding, or going down quickly and reaching a plateau => high learning rate",
            **fields,
        )


def _severity(training: Training, accuracy: float) -> str:
    return "failure" if training.normalized_accuracy(accuracy) < 0.1 else "warning"
