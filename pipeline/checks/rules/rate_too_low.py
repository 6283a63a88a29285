from __future__ import annotations

from dataclasses import dataclass
from statistics import median

from pipeline.checks.finding import Finding, Severity
from pipeline.checks.rule import Rule
from pipeline.checks.training_curves import (
    FINISHED_KEYS,
    Training,
    lr_remedy,
    mean,
    nearest_power_of_ten,
    to_float,
    to_floats,
)
from pipeline.signals.schema import Signals
from pipeline.validation import integer, number


@dataclass(frozen=True)
class RateTooLow(Rule):
    """Anti-pattern: a loss that falls slowly along a straight line, with almost all of the drop still ahead.

    Fires when, after `min_steps` steps or more, the loss has dropped by at most `min_drop` of its first value, and
    steadily: the second half of the schedule (by summed learning rates, so that a schedule's end does not count) brings
    between `linearity` and its inverse times what the first half brings. A network that is stuck falls fast to chance
    and then no more; one that escapes from a bad initialization gets faster. In training, a typical update also has to
    be below `min_ratio` of the weights. On a few examples that are not learned it also fires when a higher learning
    rate learns them; ten times the rate is only `info`, since schedules go as far.
    """

    check = "rate_too_low"
    reads = (
        "overfit_reached",
        "overfit_other_rate",
        "overfit_other_steps",
        "overfit_steps",
        *FINISHED_KEYS,
        "steps_per_entry",
        "samples",
        "lr",
    )
    severities = ("failure", "warning", "info")
    why = (
        "Each step goes in the right direction and is far too short: at this rate the run would take many times its "
        "length."
    )
    source = "lecture notes: loss barely changes => learning rate is too low"
    remedies = ("optimizer.lr=...",)
    explains = (
        "cannot_overfit",
        "late_start",
        "train_eval_mismatch",
        "loss_plateau",
        "update_ratio_low",
        "undertrained",
        "underfitting",
    )

    min_steps: int
    min_drop: float
    linearity: float
    min_ratio: float

    def __post_init__(self) -> None:
        integer("min_steps", self.min_steps, at_least=10)
        number("min_drop", self.min_drop, above=0, below=1)
        number("linearity", self.linearity, above=0, below=1)
        number("min_ratio", self.min_ratio, above=0)

    def __call__(self, signals: Signals) -> Finding | None:
        return self._overfit(signals) if "overfit_reached" in signals else self._train(signals)

    def _overfit(self, signals: Signals) -> Finding | None:
        losses = to_floats(signals.get("losses", ()))
        other, rate = to_float(signals.get("overfit_other_rate")), to_float(signals.get("lr"))
        if other > rate > 0:
            return self._higher_rate_learns(signals, rate, other)
        if signals["overfit_reached"] or len(losses) < self.min_steps:
            return None
        width, half = max(1, len(losses) // 20), len(losses) // 2
        curve = mean(losses[:width]), mean(losses[half - width : half + width]), mean(losses[-width:])
        return self._slow_descent(signals, curve, factor=10.0, severity="failure")

    def _train(self, signals: Signals) -> Finding | None:
        training = Training.if_finished(signals)
        if training is None or training.steps < self.min_steps:
            return None
        ratios = training.median_update_ratios()
        ratio = median(ratios.values()) if ratios else None
        if ratio is not None and ratio >= self.min_ratio:
            return None
        accuracy = training.final_train_accuracy()
        has_learned = accuracy is not None and not training.normalized_accuracy(accuracy) < 0.2
        return self._slow_descent(
            signals,
            (training.smoothed_loss(0.0), training.smoothed_loss(0.5), training.smoothed_loss(1.0)),
            factor=nearest_power_of_ten(1e-3, ratio) if ratio else 10.0,
            severity="warning" if has_learned else "failure",
            ratio=ratio,
        )

    def _higher_rate_learns(self, signals: Signals, rate: float, other: float) -> Finding:
        times, steps = other / rate, signals["overfit_other_steps"]
        return self.finding(
            "info" if times < 50 else "warning" if times < 500 else "failure",
            measured={"lr": rate, "other_lr": other, "steps": float(steps)},
            expected="a few examples that can be memorized at a learning rate no lower than a tenth of one that works",
            message=f"At the learning rate {rate:.3g} a few examples are not memorized within "
            f"{signals['overfit_steps']} steps; at {other:.3g} they are, in {steps}.",
            remedy=lr_remedy(signals, times),
        )

    def _slow_descent(
        self,
        signals: Signals,
        curve: tuple[float, float, float],
        *,
        factor: float,
        severity: Severity,
        ratio: float | None = None,
    ) -> Finding | None:
        """Judge `curve`: the loss at the start, half way and at the end."""
        first, middle, last = curve
        drop = (first - last) / abs(first) if first else 0.0
        is_linear = self.linearity * (first - middle) <= middle - last <= (first - middle) / self.linearity
        if not (first > middle > last and drop <= self.min_drop) or not is_linear:
            return None
        update = "" if ratio is None else f" A typical update is {ratio:.1e} of the weights."
        return self.finding(
            severity,
            measured={"first_loss": first, "middle_loss": middle, "loss": last}
            | ({} if ratio is None else {"update_ratio": ratio}),
            expected=f"a loss that falls by more than {self.min_drop:.0%} within {self.min_steps} steps or more",
            message=f"The loss fell from {first:.4g} over {middle:.4g} to {last:.4g}, steadily and slowly.{update}",
            remedy=lr_remedy(signals, factor),
        )
