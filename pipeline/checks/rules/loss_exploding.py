from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import ClassVar

from pipeline.checks.consequences import FAILS_TO_GENERALIZE
from pipeline.checks.finding import Finding, Signals
from pipeline.checks.training_curves import Training, lr_remedy, nearest_power_of_ten


@dataclass(frozen=True)
class LossExploding:
    """Anti-pattern: waiting for a run whose cost has left the ground.

    Rule: the cost never exceeds `break_factor` (3 in the notes) times the original cost. The stage stops at once.
    """

    explains: ClassVar[tuple[str, ...]] = (
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
        return Finding(
            check="loss_exploding",
            severity="failure",
            measured={"cost": cost, "original_cost": original, "lr": signals["lr"]},
            expected=f"a cost below {factor:g} x {original:.4g}",
            message=f"At step {step} the cost is {cost:.4g}, {times} {original:.4g}.",
            why="Each update overshoots and makes the next gradient larger: the learning rate is too high.",
            remedy=lr_remedy(signals, _factor(signals)),
            source="lecture notes: if the cost is ever > 3 * original cost, break out early",
            step=step,
        )


def _factor(signals: Signals) -> float:
    """The power of ten that brings a typical update near 0.003 of the weights; a tenth where it is not known."""
    training = Training.from_signals(signals)
    ratios = [] if training is None else list(training.typical_ratios(at_least=1).values())
    return nearest_power_of_ten(3e-3, max(median(ratios), 1e-2)) if ratios else 0.1
