from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import ClassVar

from pipeline.checks.finding import Finding, Severity, Signals
from pipeline.checks.training_curves import Training, lr_remedy, mean, nearest_power_of_ten, to_floats
from pipeline.validation import integer, number


@dataclass(frozen=True)
class RateTooLow:
    """Anti-pattern: a loss that creeps down a straight line, with almost all of the way still before it.

    Rule: after `min_steps` steps the loss has fallen by more than `min_drop` of its first value, or does not fall steadily: the
    second half of the way (by rate, so that a schedule's end does not count) brings less than `linearity` of what the
    first half brings, or more than the inverse. A network that is stuck falls fast to chance and then no more; one that
    escapes from a bad initialization grows faster; one that is too slow goes on.
    In a training the updates also have to be below `min_ratio` of the weights. Reads `train` and `overfit`.
    """

    min_steps: int
    min_drop: float
    linearity: float
    min_ratio: float
    explains: ClassVar[tuple[str, ...]] = (
        "cannot_overfit",
        "late_start",
        "train_eval_mismatch",
        "loss_plateau",
        "update_ratio_low",
        "undertrained",
        "underfitting",
    )

    def __post_init__(self) -> None:
        integer("min_steps", self.min_steps, at_least=10)
        number("min_drop", self.min_drop, above=0, below=1)
        number("linearity", self.linearity, above=0, below=1)
        number("min_ratio", self.min_ratio, above=0)

    def __call__(self, signals: Signals) -> Finding | None:
        if "overfit_reached" in signals:
            losses = to_floats(signals.get("losses", ()))
            other, rate = to_floats((signals.get("overfit_other_rate"), signals.get("lr")))
            if other > rate > 0:
                return self._another_learns(signals, rate, other)
            if signals["overfit_reached"] or len(losses) < self.min_steps:
                return None
            width = max(1, len(losses) // 20)
            half = len(losses) // 2
            curve = mean(losses[:width]), mean(losses[half - width : half + width]), mean(losses[-width:])
            return self._judge(signals, curve, factor=10.0, severity="failure")
        training = Training.if_finished(signals)
        if training is None or training.steps < self.min_steps:
            return None
        ratio = median(training.typical_ratios().values()) if training.typical_ratios() else None
        if ratio is not None and ratio >= self.min_ratio:
            return None
        factor = nearest_power_of_ten(1e-3, ratio) if ratio else 10.0
        accuracy = training.final_train_accuracy()
        severity: Severity = (
            "failure" if accuracy is None or training.normalized_accuracy(accuracy) < 0.2 else "warning"
        )
        curve = training.smoothed_loss(0.0), training.smoothed_loss(0.5), training.smoothed_loss(1.0)
        return self._judge(signals, curve, factor=factor, severity=severity, ratio=ratio)

    def _another_learns(self, signals: Signals, rate: float, other: float) -> Finding:
        """A few examples are learned at a higher rate. Ten times it is no fault: schedules go as far."""
        times, steps = other / rate, signals["overfit_other_steps"]
        return Finding(
            check="rate_too_low",
            severity="info" if times < 50 else "warning" if times < 500 else "failure",
            measured={"lr": rate, "other_lr": other, "steps": float(steps)},
            expected="a few examples learned by heart at a tenth of a rate that learns them, or above",
            message=f"At the rate {rate:.3g} a few examples are not learned by heart within {signals['overfit_steps']} "
            f"steps; at {other:.3g} they are, in {steps}.",
            why="Each step goes the right way and is too short.",
            remedy=lr_remedy(signals, times),
            source="lecture notes: loss barely changes => learning rate is too low",
        )

    def _judge(
        self,
        signals: Signals,
        curve: tuple[float, float, float],
        *,
        factor: float,
        severity: Severity,
        ratio: float | None = None,
    ) -> Finding | None:
        first, middle, last = curve
        fall = (first - last) / abs(first) if first else 0.0
        if not (first > middle > last and fall <= self.min_drop) or not (
            self.linearity * (first - middle) <= middle - last <= (first - middle) / self.linearity
        ):
            return None
        measured = {"first_loss": first, "middle_loss": middle, "loss": last}
        moved = "" if ratio is None else f" A typical update is {ratio:.1e} of the weights."
        return Finding(
            check="rate_too_low",
            severity=severity,
            measured=measured | ({} if ratio is None else {"update_ratio": ratio}),
            expected=f"a loss that falls by more than {self.min_drop:.0%} within {self.min_steps} steps or more",
            message=f"The loss crept from {first:.4g} over {middle:.4g} to {last:.4g}, straight and slowly.{moved}",
            why="Each step goes the right way and is far too short: at this rate the run would take many times its "
            "length to get anywhere.",
            remedy=lr_remedy(signals, factor),
            source="lecture notes: loss barely changes => learning rate is too low",
        )
