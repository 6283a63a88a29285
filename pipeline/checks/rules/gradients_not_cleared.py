from __future__ import annotations

from dataclasses import dataclass

from pipeline.checks.consequences import FAILS_TO_GENERALIZE, LEARNING_RATE
from pipeline.checks.finding import Finding
from pipeline.checks.rule import Rule
from pipeline.errors import list_names
from pipeline.signals.schema import Signals


@dataclass(frozen=True)
class GradientsNotCleared(Rule):
    """Anti-pattern: a loop without `zero_grad`, or an optimizer whose `zero_grad` does not clear.

    Fires when a parameter of the optimizer still has its gradient after `optimizer.zero_grad()`. The training stages
    clear gradients themselves and would not show it; a loop that relies on `zero_grad` does.
    """

    check = "gradients_not_cleared"
    reads = ("gradients_kept", "trainable_parameters")
    severities = ("failure",)
    why = (
        "`backward` adds to the gradient that is there: without clearing, a step follows the sum of the gradients of "
        "all steps before it, as with a momentum of 1."
    )
    source = "torch.Tensor.backward accumulates gradients in the leaves"
    advice = "Clear the gradients once before the backward pass of each step; an own zero_grad must do so too."
    code = "optimizer.zero_grad()"
    explains = (
        "wrong_direction",
        *LEARNING_RATE,
        "saturated_units",
        "dead_units",
        "nonfinite",
        *FAILS_TO_GENERALIZE,
    )

    def __call__(self, signals: Signals) -> Finding | None:
        names = signals.get("gradients_kept")
        if not names:
            return None
        total = signals.get("trainable_parameters", len(names))
        return self.finding(
            "failure",
            measured={"kept": float(len(names)), "parameters": float(total)},
            expected="no gradient left over when the backward pass of a step begins",
            message=f"{len(names)} of {total} parameters keep their gradient where the optimizer's zero_grad should "
            f"clear it: {list_names(names)}. In a loop that relies on it, each step adds its gradient to all before.",
            where=names[0],
        )
