from __future__ import annotations

from dataclasses import dataclass

from pipeline.checks.finding import Finding, Signals


@dataclass(frozen=True)
class LossExploding:
    """Anti-pattern: waiting for a run whose cost has left the ground.

    Rule: the cost never exceeds `break_factor` (3 in the notes) times the original cost. The stage stops at once.
    """

    explains = ()

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
            remedy=tuple(signals["lower_rate"]),
            source="lecture notes: if the cost is ever > 3 * original cost, break out early",
            step=step,
        )
