from __future__ import annotations

from dataclasses import dataclass
from statistics import median

from pipeline.checks.consequences import FAILS_TO_GENERALIZE
from pipeline.checks.finding import Finding
from pipeline.checks.rule import Rule
from pipeline.checks.training_curves import TRAINING_KEYS, Training, lr_remedy, nearest_power_of_ten
from pipeline.signals.schema import Signals


@dataclass(frozen=True)
class LossExploding(Rule):
    """Anti-pattern: waiting for the end of a run whose loss has exploded.

    Fires when the loss exceeds `stages.train.break_factor` (3 in the notes) times the loss of the first step in five
    steps in a row, or ten times as much in one. For the squared error of targets the factors are squared: it is the
    error that grows by the factor. The stage stops at once. A peak of the schedule, or a rare example with
    a large weight, is over sooner.
    """

    check = "loss_exploding"
    reads = (
        "exploded",
        "exploded_cost",
        "exploded_step",
        "original_cost",
        "break_factor",
        "lr",
        "samples",
        *TRAINING_KEYS,
    )
    needs = ("exploded|losses|epochs.loss", "exploded|epochs_planned")
    severities = ("failure",)
    why = "Each update overshoots and makes the next gradient larger: the learning rate is too high."
    source = "lecture notes: if the cost is ever > 3 * original cost, break out early"
    remedies = ("optimizer.lr=...",)
    advice = "Lower the learning rate, or bound the norm of the gradient."
    code = "nn.utils.clip_grad_norm_(model.parameters(), 1.0)"
    explains = (
        "rate_too_high",
        "dead_units",
        "vanishing_activations",
        "nonfinite",
        *FAILS_TO_GENERALIZE,
    )

    def __call__(self, signals: Signals) -> Finding | None:
        if not signals.get("exploded"):
            return None
        cost, original, factor = signals["exploded_cost"], signals["original_cost"], signals["break_factor"]
        step = signals["exploded_step"]
        times = f"{cost / original:.3g} times the original" if original > 0 else "up from the original"
        return self.finding(
            "failure",
            measured={"cost": cost, "original_cost": original} | ({"lr": signals["lr"]} if "lr" in signals else {}),
            expected=f"a loss below {factor:g} x {original:.4g}",
            message=f"At step {step} the loss is {cost:.4g}, {times} {original:.4g}.",
            remedy=lr_remedy(signals, _lr_factor(signals)),
            step=step,
        )


def _lr_factor(signals: Signals) -> float:
    """Return the power of ten that brings a typical update near 0.003 of the weights; 0.1 where it is unknown."""
    training = Training.from_signals(signals)
    ratios = [] if training is None else list(training.median_update_ratios(min_samples=1).values())
    return nearest_power_of_ten(3e-3, max(median(ratios), 1e-2)) if ratios else 0.1
