from __future__ import annotations

import math
from dataclasses import dataclass

from pipeline.checks.finding import Finding
from pipeline.checks.rule import Rule
from pipeline.checks.training_curves import to_floats
from pipeline.signals.schema import Signals
from pipeline.validation import number

TORCH_THRESHOLD = 1e-4
"""The threshold of torch's plateau schedule: improvements by less than this share do not count."""


@dataclass(frozen=True)
class RateFallsEarly(Rule):
    """Anti-pattern: a plateau schedule that lowers the rate although the loss still falls.

    Fires when a plateau schedule (1) takes a rise of its loss, or a fall of its accuracy, for better (`mode`), or (2)
    lowered the rate, to `max_share` of the first one or less in all such moves together, after an epoch whose loss, or
    that of the epoch before, was by more than `min_improvement` better than all before: a curve that improves like this
    is on no plateau. The validation loss counts, without one the training loss. Looked at after each epoch.
    """

    check = "rate_falls_early"
    reads = ("epochs", "schedule_mode", "schedule_monitor", "schedule_patience", "schedule_threshold")
    needs = ("schedule_mode|epochs.lr",)
    severities = ("warning",)
    why = (
        "The steps become too short for the distance that is left, and no later epoch makes them longer again. The "
        "curve that flattens then looks like one that has converged."
    )
    source = "torch: ReduceLROnPlateau lowers the rate when the monitored value has stopped improving"
    remedies = (
        "++schedule.scheduler.mode=...",
        "++schedule.scheduler.threshold=...",
        "schedule.scheduler.patience=...",
    )
    advice = "Let the plateau schedule watch the validation loss with mode='min', and give it more patience."
    code = "scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, mode='min', patience=10)"
    explains = (
        "rate_too_low",
        "loss_plateau",
        "update_ratio_low",
        "undertrained",
        "underfitting",
    )

    min_improvement: float
    max_share: float

    def __post_init__(self) -> None:
        number("min_improvement", self.min_improvement, above=0, below=1)
        number("max_share", self.max_share, above=0, below=1)

    def __call__(self, signals: Signals) -> Finding | None:
        if "schedule_mode" not in signals:
            return None
        return self._wrong_mode(signals) or self._falls(signals)

    def _wrong_mode(self, signals: Signals) -> Finding | None:
        mode, monitor = signals["schedule_mode"], signals.get("schedule_monitor")
        if monitor is None or mode == (right := "min" if "loss" in monitor else "max"):
            return None
        return self.finding(
            "warning",
            measured={},
            expected=f"mode={right}",
            message=f"The plateau schedule watches {monitor} with mode={mode}: it takes what is worse for better, and "
            "lowers the rate while the network improves.",
            remedy=(f"++schedule.scheduler.mode={right}",),
        )

    def _falls(self, signals: Signals) -> Finding | None:
        epochs = signals.get("epochs", {})
        rates = to_floats(epochs.get("lr") or ())
        losses = to_floats(epochs.get("val_loss") or epochs.get("loss") or ())
        early = [i for i in range(1, min(len(rates), len(losses)) - 1) if self._is_early(rates, losses, i)]
        share = math.prod(rates[i + 1] / rates[i] for i in early)
        if not early or share > self.max_share:
            return None
        last = early[-1]
        return self.finding(
            "warning",
            measured={"times": float(len(early)), "share": share, "loss": losses[last]}
            | {"earlier_loss": min(losses[: max(1, last - 1)])},
            expected="a rate that is lowered only where the loss no longer falls",
            message=f"After {'epochs' if len(early) > 1 else 'epoch'} {', '.join(str(i + 1) for i in early[:5])} the "
            f"plateau schedule lowered the rate, to {share:.2g} of what it was, although the loss was still falling: "
            f"{min(losses[: max(1, last - 1)]):.4g} at best before, {min(losses[last - 1 : last + 1]):.4g} then.",
            remedy=_more_patience(signals),
        )

    def _is_early(self, rates: tuple[float, ...], losses: tuple[float, ...], i: int) -> bool:
        """Return whether the rate was lowered after the epoch of index `i`, with a new best loss just reached."""
        if not 0 < rates[i + 1] < rates[i]:
            return False
        recent, before = min(losses[max(1, i - 1) : i + 1]), min(losses[: max(1, i - 1)])
        return recent < before - self.min_improvement * abs(before)


def _more_patience(signals: Signals) -> tuple[str, ...]:
    if signals["schedule_threshold"] > TORCH_THRESHOLD:
        return (f"++schedule.scheduler.threshold={TORCH_THRESHOLD:g}",)
    return (f"schedule.scheduler.patience={max(2 * signals['schedule_patience'], 5)}",)
