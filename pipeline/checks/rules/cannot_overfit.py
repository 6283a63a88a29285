from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pipeline.checks.finding import Finding, Signals
from pipeline.checks.training_curves import lr_remedy, to_floats
from pipeline.validation import number


@dataclass(frozen=True)
class CannotOverfit:
    """Anti-pattern: training for hours what cannot even learn a few examples by heart.

    Rule: on a very small part of the training data, with all regularization off, the loss drops below the target with
    every example right, within the budget. Every example right, at a loss below `near_loss_ratio` of the first one or below
    `still_falling_ratio` of what it was half way, is a hint that the budget was short and no fault: plain gradient descent takes
    its time for the last of it.
    """

    near_loss_ratio: float
    still_falling_ratio: float
    explains: ClassVar[tuple[str, ...]] = ("late_start", "loss_plateau", "undertrained", "underfitting")

    def __post_init__(self) -> None:
        number("near_loss_ratio", self.near_loss_ratio, at_least=0, below=1)
        number("still_falling_ratio", self.still_falling_ratio, at_least=0, below=1)

    def __call__(self, signals: Signals) -> Finding | None:
        if signals.get("overfit_reached", True):
            return None
        loss, target, start = signals["overfit_loss"], signals["overfit_target"], signals["overfit_first_loss"]
        wrong, examples, steps = signals["overfit_wrong"], signals["overfit_examples"], signals["overfit_steps"]
        if signals.get("overfit_other_rate") is not None:  # the rate is at fault, not the network
            return None
        losses = to_floats(signals.get("losses", ()))
        half = losses[len(losses) // 2] if losses else 0.0
        nearly = wrong == 0 and 0 <= loss <= max(self.near_loss_ratio * start, self.still_falling_ratio * half)
        reason, remedy = ("It was on its way.", _longer(steps)) if nearly else _reason(signals)
        return Finding(
            check="cannot_overfit",
            severity="info" if nearly else "failure",
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


def _reason(signals: Signals) -> tuple[str, tuple[str, ...]]:
    """What the curve looks like, and what may mend it."""
    loss, start, steps = signals["overfit_loss"], signals["overfit_first_loss"], signals["overfit_steps"]
    if loss > start:
        return "The loss went up: the rate is too high.", lr_remedy(signals, 0.1)
    losses = to_floats(signals.get("losses", ()))
    half = losses[len(losses) // 2] if losses else start
    if losses and half - loss <= 0.02 * start:
        if loss > 0.5 * start:
            return (
                "It stopped there early: no gradient that tells the examples apart reaches the weights.",
                ("init=he", "activation=relu", "batchnorm=before_activation"),
            )
        return "It stopped there: the network is too small, or units died.", (*lr_remedy(signals, 0.1),)
    if loss > 0.5 * start:
        return "It falls steadily and slowly: the rate is too low.", lr_remedy(signals, 10.0)
    return "It was still falling.", _longer(steps)


def _longer(steps: int) -> tuple[str, ...]:
    return (f"stages.overfit.steps={4 * steps}",)
