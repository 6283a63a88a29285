from __future__ import annotations

from dataclasses import dataclass

from pipeline.checks.consequences import FAILS_TO_GENERALIZE
from pipeline.checks.finding import Finding
from pipeline.checks.rule import Rule
from pipeline.errors import list_names
from pipeline.signals.schema import Signals


@dataclass(frozen=True)
class GradientsClearedEarly(Rule):
    """Anti-pattern: `zero_grad` between the backward pass and the step, in the loop or inside the optimizer's step.

    Fires when the optimizer updates a parameter exactly as if its gradient were zero, at a learning rate that is not
    zero and over many steps.
    """

    check = "gradients_cleared_early"
    reads = ("gradients_lost", "trainable_parameters")
    severities = ("failure",)
    why = "A step that comes after its gradient is cleared learns nothing from the batch."
    source = "torch.optim: a step uses the gradients that the parameters have at that moment"
    advice = "Clear the gradients before the backward pass, and step directly after it."
    code = "optimizer.zero_grad(); loss.backward(); optimizer.step()"
    explains = ("wrong_direction", "unreachable_parameters", "frozen_weights", "input_ignored", *FAILS_TO_GENERALIZE)

    def __call__(self, signals: Signals) -> Finding | None:
        names = signals.get("gradients_lost")
        if not names:
            return None
        total = signals.get("trainable_parameters", len(names))
        return self.finding(
            "failure",
            measured={"lost": float(len(names)), "parameters": float(total)},
            expected="an update that depends on the gradient",
            message=f"{len(names)} of {total} parameters are updated as if they had no gradient: {list_names(names)}. "
            "The gradients are cleared between the backward pass and the update, or the optimizer does not use them.",
            where=names[0],
        )
