from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pipeline.checks.consequences import FAILS_TO_GENERALIZE
from pipeline.checks.finding import Finding, Signals
from pipeline.validation import number


@dataclass(frozen=True)
class InitialLoss:
    """Anti-pattern: a network that is sure of its answers before it has seen any.

    Rule: without regularization the first loss is what chance gives: ln C for cross-entropy, C - 1 for the hinge,
    1/C for squared error. Independent logits of standard deviation s exceed ln C by about s^2/2, since
    E[exp(z)] = exp(s^2/2) for z ~ N(0, s^2).
    """

    warning: float
    warning_below: float
    failure: float
    explains: ClassVar[tuple[str, ...]] = ("input_ignored", *FAILS_TO_GENERALIZE)

    def __post_init__(self) -> None:
        number("warning", self.warning, above=0)
        number("warning_below", self.warning_below, above=0, at_most=1)
        number("failure", self.failure, at_least=self.warning)

    def __call__(self, signals: Signals) -> Finding | None:
        loss, expected = signals.get("first_loss"), signals.get("expected_first_loss")
        if loss is None or expected is None or not expected > 0:
            return None
        off = abs(loss - expected) / expected
        if off <= (self.warning if loss > expected else self.warning_below):
            return None
        spread = signals["logit_std"]
        above = loss > expected
        reason = (
            f"The logits spread by {spread:.3g} before training; s^2/2 = {spread * spread / 2:.3g}."
            if above
            else "It is below chance: labels leak into the input, or the loss is not what it is taken for."
        )
        return Finding(
            check="initial_loss",
            severity="failure" if off > self.failure else "warning",
            measured={"first_loss": loss, "logit_std": spread},
            expected=f"{expected:.4g}, at most {self.warning:.0%} above and {self.warning_below:.0%} below",
            message=f"The first loss is {loss:.4g} where chance gives {expected:.4g}. {reason}",
            why="The first epochs go into unlearning wrong certainty, or the loss is computed wrongly "
            "(probabilities given for logits, a sum for a mean, a wrong number of outputs).",
            remedy=("init=he", "init.output_scale=0.1") if above else (),
            source="lecture notes, step 3: double check that the loss is reasonable",
            step=0,
        )
