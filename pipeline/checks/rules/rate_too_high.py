from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import median

from pipeline.checks.finding import Finding, Severity
from pipeline.checks.rule import Rule
from pipeline.checks.training_curves import (
    BEATS_CHANCE_KEYS,
    FINISHED_KEYS,
    Training,
    lr_remedy,
    medians,
    nearest_power_of_ten,
    rise_of_targets,
    standard_error,
    to_float,
    to_floats,
)
from pipeline.signals.schema import Signals
from pipeline.validation import number

MIN_EXAMPLES = 16
"""Examples over which the loss of a step is averaged, as for the early end of a training."""


@dataclass(frozen=True)
class RateTooHigh(Rule):
    """Anti-pattern: steps so long that the network forgets what it had learned, or never learns anything.

    Fires in training when (1) accuracy on training examples ends more than `max_accuracy_drop` and three standard
    errors below its best, or (2) less than half was learned, and the smoothed loss rose above
    `max_smoothed_loss_ratio` times the first one, or that of a step above `max_peak_ratio` times, or it ended more than
    `max_loss_regression` of its drop above the minimum, or a typical update is above `max_ratio` of the weights. Fires
    on a few examples that are not learned when (3) a lower learning rate learns them, or (4) a loss exceeds
    `max_overfit_loss_ratio` times the first one; or (5) in training on targets, the last fifth of the loss is above
    2.25 times the first fifth. In training it is a failure where less than a tenth was learned.
    Silent where almost all examples have one class and the loss fell all the same: accuracy says little there.
    """

    check = "rate_too_high"
    reads = (
        "overfit_reached",
        "overfit_other_rate",
        "overfit_other_steps",
        *FINISHED_KEYS,
        *BEATS_CHANCE_KEYS,
        "steps_per_entry",
        "samples",
        "chance_loss",
        "batch_size",
        "lr",
    )
    needs = ("not exploded", "not nonfinite", "not running", "overfit_reached|epochs.loss")
    severities = ("failure", "warning")
    why = (
        "A step that is longer than the valley is wide ends higher on the other side. The weights grow or the units "
        "die, and lower learning rates later cannot restore them."
    )
    source = "lecture notes: loss exploding, or going down quickly and reaching a plateau => high learning rate"
    remedies = ("optimizer.lr=...",)
    advice = "Lower the learning rate to a tenth."
    code = 'for group in optimizer.param_groups: group["lr"] /= 10'
    explains = (
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

    max_accuracy_drop: float
    max_loss_regression: float
    max_smoothed_loss_ratio: float
    max_peak_ratio: float
    max_ratio: float
    max_overfit_loss_ratio: float

    def __post_init__(self) -> None:
        number("max_accuracy_drop", self.max_accuracy_drop, above=0, below=1)
        number("max_loss_regression", self.max_loss_regression, above=0, below=1)
        number("max_smoothed_loss_ratio", self.max_smoothed_loss_ratio, above=1)
        number("max_peak_ratio", self.max_peak_ratio, above=1)
        number("max_ratio", self.max_ratio, above=0)
        number("max_overfit_loss_ratio", self.max_overfit_loss_ratio, above=1)

    def __call__(self, signals: Signals) -> Finding | None:
        if "overfit_reached" in signals:
            return self._overfit(signals)
        training = Training.if_finished(signals)
        if training is None:
            return self._unlearned_targets(signals)
        if training.learns_rare_classes():
            return None
        return self._forgotten(training) or self._never_learned(training)

    def _overfit(self, signals: Signals) -> Finding | None:
        losses = to_floats(signals.get("losses", ()))
        other, rate = to_float(signals.get("overfit_other_rate")), to_float(signals.get("lr"))
        if 0 < other < rate:
            steps = signals["overfit_other_steps"]
            return self.finding(
                "failure",
                measured={"lr": rate, "other_lr": other, "steps": float(steps)},
                expected="a few examples that can be memorized at the configured learning rate",
                message=f"At the learning rate {rate:.3g} a few examples cannot be memorized; at {other:.3g} they are, "
                f"in {steps} steps.",
                remedy=lr_remedy(signals, other / rate),
            )
        if signals["overfit_reached"] or not losses or not losses[0] > 0:
            return None
        index = next((i for i, loss in enumerate(losses) if not loss <= self.max_overfit_loss_ratio * losses[0]), None)
        if index is None or math.isnan(losses[index]):  # a NaN out of nothing is a matter of nonfinite
            return None
        return self.finding(
            "failure",
            measured={"first_loss": losses[0], "loss": losses[index], "last_loss": losses[-1]},
            expected=f"no step above {self.max_overfit_loss_ratio:g} x the first loss {losses[0]:.4g}",
            message=f"At step {index + 1} the loss on a few examples is {losses[index]:.4g}, up from {losses[0]:.4g}, "
            f"and it ends at {losses[-1]:.4g}: the steps overshoot.",
            remedy=lr_remedy(signals, 0.01 if index < 5 else 0.1),
            step=index + 1,
        )

    def _forgotten(self, training: Training) -> Finding | None:
        curves = [
            (training.column("probe_accuracy"), training.last("probe_accuracy"), training.probe_examples),
            (training.column("accuracy"), training.last("accuracy"), training.train_examples),
        ]
        for values, last, examples in curves:
            if last is None:
                continue
            best = max(values)
            error = math.hypot(standard_error(best, examples), standard_error(last, examples))
            if best - last > self.max_accuracy_drop + 3 * error:
                return self.finding(
                    _severity(training, last),
                    measured={"best": best, "last": last, "standard_error": error},
                    expected=f"training examples at the end at most {self.max_accuracy_drop:g} worse than at best",
                    message=f"{best:.1%} of the training examples were right after epoch {values.index(best) + 1}, "
                    f"{last:.1%} are at the end: the network has forgotten what it had learned.",
                    remedy=lr_remedy(training.signals, 0.1),
                )
        return None

    def _never_learned(self, training: Training) -> Finding | None:
        last = training.final_train_accuracy()
        if last is None or training.normalized_accuracy(last) >= 0.5:
            return None
        first, highest = abs(training.losses[0]), max(medians(training.losses, 20))
        ratios = training.median_update_ratios()
        ratio = median(ratios.values()) if ratios else 0.0
        peak, start = max(steps := training.losses_of_examples(MIN_EXAMPLES)), abs(steps[0])
        is_calm = ratio <= self.max_ratio and highest <= self.max_smoothed_loss_ratio * first
        is_calm = is_calm and peak <= self.max_peak_ratio * start
        if is_calm and not self._loss_regressed(training):
            return None
        return self.finding(
            _severity(training, last),
            measured={"highest_loss": highest, "peak_loss": peak, "first_loss": first}
            | {"update_ratio": ratio, "accuracy": last},
            expected=f"updates below {self.max_ratio:g} of the weights and a loss below "
            f"{self.max_smoothed_loss_ratio:g} x the first",
            message=f"From {first:.4g} the loss went up to {highest:.4g} (smoothed; {peak:.4g} in a step) and ended at "
            f"{training.smoothed_loss(1.0):.4g}; a typical update is {ratio:.2g} of the weights; {last:.1%} of the "
            "training examples are right at the end.",
            remedy=lr_remedy(training.signals, nearest_power_of_ten(3e-3, max(ratio, 1e-2))),
        )

    def _unlearned_targets(self, signals: Signals) -> Finding | None:
        training = Training.if_finished(signals, needs_classes=False)
        rise = None if training is None or signals.get("classes") else rise_of_targets(signals)
        if rise is None:
            return None
        first, last = rise
        return self.finding(
            "failure" if (chance := signals.get("chance_loss")) and last > chance else "warning",
            measured={"first_loss": first, "loss": last},
            expected="a loss that falls",
            message=f"The loss rose from {first:.4g} in the first fifth of the training to {last:.4g} in the last: the "
            "steps overshoot.",
            remedy=lr_remedy(signals, 0.1),
        )

    def _loss_regressed(self, training: Training) -> bool:
        """Return whether the loss ended `max_loss_regression` of its drop, and 3 standard errors, above its minimum."""
        epochs = training.epoch_losses()
        if len(epochs) < 4:
            return False
        (first, _), (lowest, error), (last, last_error) = epochs[0], min(epochs), epochs[-1]
        first = max(first, training.signals.get("chance_loss") or first)
        if not first - lowest > 0.05 * abs(first):  # nothing had been gained that could be lost
            return False
        return last - lowest > max(self.max_loss_regression * (first - lowest), 3 * math.hypot(error, last_error))


def _severity(training: Training, accuracy: float) -> Severity:
    return "failure" if training.normalized_accuracy(accuracy) < 0.1 else "warning"
