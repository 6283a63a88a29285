from __future__ import annotations

from dataclasses import dataclass

from pipeline.checks.finding import Finding
from pipeline.checks.rule import Rule
from pipeline.checks.training_curves import FINISHED_KEYS, Training, to_floats
from pipeline.signals.schema import Signals
from pipeline.validation import number

LAST_SHARE = 0.01
"""Rate at the end / at the start of the exponential schedule that is proposed: small and not nothing."""
MIN_RATES = 4
"""Rates, below which the second half is the end of the schedule alone, and a schedule may well end at zero."""


@dataclass(frozen=True)
class RateVanishes(Rule):
    """Anti-pattern: a schedule that lets the rate fall to nothing long before the run ends.

    Fires when the second half of the run has less than `min_share` of the sum of all learning rates, which bounds how
    far the weights can move: by the schedule's own plan, or where there is none by the measured rates. Silent for a
    plateau schedule, which lowers the rate where the loss no longer falls, and with fewer than four rates. A cosine
    keeps 18 % for its second half.
    """

    check = "rate_vanishes"
    reads = (
        "schedule_moves",
        "planned_rates",
        "schedule_mode",
        "schedule_other_moves",
        "schedule",
        "steps_per_entry",
        *FINISHED_KEYS,
    )
    needs = ("schedule_moves|epochs.lr",)
    severities = ("warning",)
    why = "Updates are proportional to the rate. What remains of the run changes nothing, however long it is."
    source = "Bottou et al. 2018, Optimization Methods, 4.2: the sum of the rates must not be bounded too early"
    remedies = ("schedule.interval=epoch", "schedule.scheduler.gamma=...")
    advice = "Lower the rate more slowly, so that it becomes small at the end of the run and not before."
    code = "scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=moves)  # calls of step()"
    explains = (
        "rate_too_low",
        "late_start",
        "loss_plateau",
        "update_ratio_low",
        "undertrained",
        "underfitting",
        "overtrained",
    )

    min_share: float

    def __post_init__(self) -> None:
        number("min_share", self.min_share, above=0, below=0.5)

    def __call__(self, signals: Signals) -> Finding | None:
        rates = to_floats(signals.get("planned_rates", ())) or self._measured_rates(signals)
        if len(rates) < MIN_RATES or not self._vanishes(rates):
            return None
        total, left, last_useful = sum(rates), sum(rates), 0
        while total > 0 and left >= self.min_share * total:
            left -= rates[last_useful]
            last_useful += 1
        share = last_useful / len(rates)
        return self.finding(
            "warning",
            measured={"highest_rate": max(rates), "middle_rate": rates[len(rates) // 2], "last_rate": rates[-1]}
            | {"useful_share": share},
            expected=f"a second half of the run with {self.min_share:.1%} of the summed rates or more",
            message=f"The learning rate falls from {max(rates):.3g} to {rates[len(rates) // 2]:.3g} half way and "
            f"{rates[-1]:.3g} at the end: after {share:.0%} of the run hardly anything can move.",
            remedy=self._remedy(signals, rates),
        )

    def _vanishes(self, rates: tuple[float, ...]) -> bool:
        half = len(rates) - len(rates) // 2
        return sum(rates[half:]) <= self.min_share * sum(rates)

    def _measured_rates(self, signals: Signals) -> tuple[float, ...]:
        training = None if "schedule_mode" in signals else Training.if_finished(signals)
        if training is None or len(training.column("lr")) < MIN_RATES:  # one rate is known for each epoch
            return ()
        return tuple(training.rates())

    def _remedy(self, signals: Signals, rates: tuple[float, ...]) -> tuple[str, ...]:
        """Return moves by epoch where they are slow enough, else for an exponential another factor."""
        moves, other = signals.get("schedule_moves"), signals.get("schedule_other_moves")
        if not moves:
            return ()
        if other and other < moves:
            by_epoch = tuple(rates[min(i * len(rates) // moves, len(rates) - 1)] for i in range(other))
            if len(by_epoch) > 1 and not self._vanishes(by_epoch):
                return ("schedule.interval=epoch",)
        if signals.get("schedule") == "ExponentialLR":
            return (f"schedule.scheduler.gamma={LAST_SHARE ** (1 / moves):.6g}",)
        return ()
