from __future__ import annotations

from dataclasses import dataclass

from pipeline.checks.finding import Finding, Signals


@dataclass(frozen=True)
class CannotOverfit:
    """Anti-pattern: training for hours what cannot even learn a few examples by heart.

    Rule: on a very small part of the training data, with all regularization off, the loss drops below the target with
    every example right, within the budget.
    """

    explains = ()

    def __call__(self, signals: Signals) -> Finding | None:
        if signals.get("overfit_reached", True):
            return None
        loss, target, start = signals["overfit_loss"], signals["overfit_target"], signals["overfit_first_loss"]
        wrong, examples, steps = signals["overfit_wrong"], signals["overfit_examples"], signals["overfit_steps"]
        rate = signals["lr"]
        if loss > start:
            remedy, reason = (f"optimizer.lr={rate / 10:.3g}",), "The loss went up: the rate is too high."
        elif loss > 0.9 * start:
            remedy = (f"optimizer.lr={min(10 * rate, 1000):.3g}",)
            reason = "It hardly moved: the rate is too low, or no gradient arrives."
        else:
            remedy, reason = (f"stages.overfit.steps={4 * steps}",), "It was still falling, or stuck where it is."
        return Finding(
            check="cannot_overfit",
            severity="failure",
            measured={
                "loss": loss,
                "wrong": float(wrong),
                "steps": float(steps),
                "best_loss": signals["overfit_best_loss"],
            },
            expected=f"loss below {target:g} and all {examples} examples right within {steps} steps",
            message=f"Stuck at loss {loss:.4g} with {wrong} of {examples} examples wrong after {steps} steps (it "
            f"began at {start:.4g}). {reason}",
            why="A network that cannot learn a few examples by heart is wired wrongly, is too small, or is given a "
            "rate with which it cannot learn anything.",
            remedy=remedy,
            source="lecture notes, step 4: overfit a very small portion of the training data",
            step=steps,
        )
