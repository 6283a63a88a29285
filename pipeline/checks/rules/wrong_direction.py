from __future__ import annotations

from dataclasses import dataclass

from pipeline.checks.consequences import FAILS_TO_GENERALIZE, LEARNING_RATE
from pipeline.checks.finding import Finding
from pipeline.checks.rule import Rule
from pipeline.signals.schema import Signals


@dataclass(frozen=True)
class WrongDirection(Rule):
    """Anti-pattern: an optimizer that climbs, because of a flipped sign or a `maximize` that was left on.

    Fires when the cosine between the gradient and the first update is above 0.01. It is -1 for plain descent and about
    -0.8 for the signs that Adam takes.
    """

    check = "wrong_direction"
    reads = ("update_direction",)
    severities = ("failure",)
    why = "Every step makes the network worse: the sign of the update is flipped, or maximize is on."
    source = "gradient descent: w -= lr g"
    advice = "Let the optimizer descend: no minus before the loss, and maximize off."
    code = "optimizer = torch.optim.SGD(model.parameters(), lr=lr, maximize=False)"
    explains = (
        "loss_disagrees",
        "nonfinite",
        "input_ignored",
        *LEARNING_RATE,
        *FAILS_TO_GENERALIZE,
    )

    def __call__(self, signals: Signals) -> Finding | None:
        cosine = signals.get("update_direction")
        if cosine is None or cosine <= 0.01:
            return None
        return self.finding(
            "failure",
            measured={"update_direction": cosine},
            expected="a negative cosine between the gradient and the first update",
            message=f"The first update points up the gradient (cosine {cosine:.2f}): training raises the loss.",
            step=0,
        )
