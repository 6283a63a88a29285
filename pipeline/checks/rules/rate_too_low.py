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
from pipeline.signals.schema import Samples, Signals
from pipeline.validation import integer, number

MIN_SAMPLES = 3
"""Sampled steps, below which the largest update is not known."""

MOSTLY = 0.6
"""Share of a few examples (chance is 0) that a rate memorizes which a schedule may make up for."""


@dataclass(frozen=True)
class RateTooLow(Rule):
    """Anti-pattern: a loss that falls slowly along a straight line, with almost all of the drop still ahead.

    Fires when, after `min_steps` steps or more, the loss has dropped by at most `min_drop` of its first value, and
    steadily: the second half of the schedule (by summed learning rates, so that a schedule's end does not count) brings
    between `linearity` and its inverse times what the first half brings. A network that is stuck falls fast to chance
    and then no more; one that escapes from a bad initialization gets faster. In training, a typical update also has to
    be below `min_ratio` of the weights. It fires as well when the largest of the sampled updates is below `min_ratio`
    and, made at every step, would have changed no layer by `min_moved` of its weights, and little was learned: the
    curve of such a run shows noise alone. A learning rate of zero throughout, with no weight that moved, is a failure
    at once. On a few examples that are not learned it also fires when a higher learning rate learns them: a failure
    where less than `min_memorized` of them (chance is 0) is right at the configured rate, a warning where it is less
    than 0.6; else for ten times the rate only `info`, since schedules go as far, and where all are right already.
    """

    check = "rate_too_low"
    reads = (
        "overfit_reached",
        "overfit_other_rate",
        "overfit_other_steps",
        "overfit_steps",
        "overfit_wrong",
        "overfit_examples",
        *FINISHED_KEYS,
        "chance_loss",
        "steps_per_entry",
        "samples",
        "optimizer",
        "lr",
    )
    needs = ("not exploded", "not nonfinite", "not running", "overfit_reached|epochs.loss")
    severities = ("failure", "warning", "info")
    why = (
        "Each step goes in the right direction and is far too short: at this rate the run would take many times its "
        "length."
    )
    source = "lecture notes: loss barely changes => learning rate is too low"
    remedies = ("optimizer.lr=...",)
    advice = "Raise the learning rate tenfold."
    code = 'for group in optimizer.param_groups: group["lr"] *= 10'
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
    min_moved: float
    min_memorized: float

    def __post_init__(self) -> None:
        integer("min_steps", self.min_steps, at_least=10)
        number("min_drop", self.min_drop, above=0, below=1)
        number("linearity", self.linearity, above=0, below=1)
        number("min_ratio", self.min_ratio, above=0)
        number("min_moved", self.min_moved, above=0, below=1)
        number("min_memorized", self.min_memorized, above=0, at_most=1)

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
        severity: Severity = "failure" if signals.get("overfit_wrong", 1) else "info"
        return self._slow_descent(signals, curve, factor=10.0, severity=severity)

    def _train(self, signals: Signals) -> Finding | None:
        if rate_zero := self._rate_zero(signals):
            return rate_zero
        training = Training.if_finished(signals)
        if training is None:
            return None
        if stands_still := self._stands_still(training):
            return stands_still
        if training.steps < self.min_steps:
            return None
        ratios = training.median_update_ratios()
        ratio = median(ratios.values()) if ratios else None
        if ratio is None and not self._is_near_chance(training):
            return None
        if ratio is not None and ratio >= self.min_ratio:
            return None
        return self._slow_descent(
            signals,
            (training.smoothed_loss(0.0), training.smoothed_loss(0.5), training.smoothed_loss(1.0)),
            factor=nearest_power_of_ten(1e-3, ratio) if ratio else 10.0,
            severity="warning" if _has_learned(training) else "failure",
            ratio=ratio,
        )

    def _rate_zero(self, signals: Signals) -> Finding | None:
        """Look for a rate of exactly zero: in all sampled steps, where no weight moved, else in a log after each epoch.

        A log may round small rates to zero, so there the loss must not have fallen either.
        """
        training = Training.if_finished(signals, needs_classes=False)
        if training is None:
            return None
        samples: Samples = signals.get("samples") or {}
        updates = [to_floats(row) for row in (samples.get("weights") or {}).get("update", ())]
        rates = to_floats(samples.get("lr", ())) if updates else training.column("lr")
        if len(rates) < (MIN_SAMPLES if updates else 1) or any(rates) or any(any(row) for row in updates):
            return None
        if updates and "optimizer" not in signals:
            return None  # a watched loop that did not show its optimizer: neither rates nor updates were seen
        first, last = training.smoothed_loss(0.0), training.smoothed_loss(1.0)
        if not updates and (training.steps < self.min_steps or not last > (1 - self.min_drop) * first):
            return None
        return self.finding(
            "failure",
            measured={"lr": 0.0, "steps": float(training.steps), "loss": last},
            expected="a learning rate above zero",
            message=f"The learning rate was zero in all of {len(rates)} {'sampled steps' if updates else 'epochs'}: no "
            f"weight has moved in {training.steps} steps.",
            advice="Set a learning rate, and look at what sets it to zero: a schedule, a warm-up that is never moved.",
            code='for group in optimizer.param_groups: group["lr"] = 1e-3',
        )

    def _stands_still(self, training: Training) -> Finding | None:
        """Judge how far the weights can have come: the largest sampled update of the layer that moves most, each step.

        With fewer samples than that a warm-up may hide the updates that follow.
        """
        ratios = [max(values) for values in training.update_ratios().values() if len(values) >= MIN_SAMPLES]
        largest, rate = max(ratios, default=0.0), to_float(training.signals.get("lr"))
        if not 0 < largest < self.min_ratio or largest * training.steps >= self.min_moved or _has_learned(training):
            return None  # updates of exactly zero are a matter of frozen_weights
        usual = 1e-2 if str(training.signals.get("optimizer", "")).startswith("SGD") else 1e-3
        wanted = usual / rate if 0 < rate < usual / 10 else nearest_power_of_ten(1e-3, largest)
        return self.finding(
            "failure",
            measured={"largest_update": largest, "steps": float(training.steps), "moved": largest * training.steps},
            expected=f"weights that can change by {self.min_moved:.0%} or more",
            message=f"The largest update is {largest:.1e} of its layer's weights: in {training.steps} steps no layer "
            f"can have changed by more than {largest * training.steps:.1e} of what it was at the start.",
            remedy=lr_remedy(training.signals, wanted),
        )

    def _is_near_chance(self, training: Training) -> bool:
        """Return whether almost all of the drop is still ahead, as seen from the loss of a guess.

        A log of another program may begin late, so a drop since its first loss says little without the updates' size.
        """
        chance_loss = training.signals.get("chance_loss")
        return chance_loss is not None and training.smoothed_loss(1.0) >= (1 - self.min_drop) * abs(chance_loss)

    def _higher_rate_learns(self, signals: Signals, rate: float, other: float) -> Finding:
        times, steps = other / rate, signals["overfit_other_steps"]
        wrong, examples = signals.get("overfit_wrong"), signals["overfit_examples"]
        if wrong is None:  # targets, of which the loss is the share that is not explained
            wrong, memorized = examples, 1 - signals["overfit_loss"] / signals["overfit_first_loss"]
        else:
            chance = 1 / signals["classes"]
            memorized = (1 - wrong / examples - chance) / (1 - chance)
        is_stuck = memorized < self.min_memorized
        is_far = times >= 50 and wrong > 0  # where all are right already, only certainty is missing
        return self.finding(
            "failure"
            if is_stuck or (is_far and times >= 500)
            else "warning"
            if is_far or memorized < MOSTLY
            else "info",
            measured={"lr": rate, "other_lr": other, "steps": float(steps), "wrong": float(wrong)},
            expected="a few examples that can be memorized at a learning rate no lower than a tenth of one that works",
            message=f"At the learning rate {rate:.3g} {wrong} of {examples} examples are still wrong and the rest not "
            f"certain after {signals['overfit_steps']} steps; at {other:.3g} all are memorized in {steps}.",
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


def _has_learned(training: Training) -> bool:
    accuracy = training.final_train_accuracy()
    return accuracy is not None and not training.normalized_accuracy(accuracy) < 0.2
