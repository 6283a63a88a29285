from __future__ import annotations

from dataclasses import dataclass

from pipeline.checks.consequences import FAILS_TO_GENERALIZE, LEARNING_RATE
from pipeline.checks.finding import Finding
from pipeline.checks.rule import Rule
from pipeline.signals.schema import Signals


@dataclass(frozen=True)
class WrongDirection(Rule):
    """Anti-pattern: a training that climbs, because of a flipped sign or a `maximize` that was left on.

    Fires when (1) the cosine between the gradient and the first update is above 0.01; it is -1 for plain descent and
    about -0.8 for the signs that Adam takes; or (2) in a watched loop, the gradient at the outputs is that of a
    cross-entropy turned around, by a cosine below -0.9; losses of the same labels have positive ones.
    """

    check = "wrong_direction"
    reads = ("update_direction", "loss_direction")
    needs = ("update_direction|loss_direction",)
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
        towards = signals.get("loss_direction")
        if towards is not None and towards < -0.9:
            return self.finding(
                "failure",
                measured={"loss_direction": towards},
                expected="a gradient at the outputs that raises those of the right classes",
                message=f"The gradient at the outputs is that of a cross-entropy turned around (cosine {towards:.2f}): "
                "each step lowers the right answers.",
                step=0,
                advice="Let the loss fall as the right answers rise: look for a minus before it or before `backward`.",
                code="F.cross_entropy(logits, labels).backward()",
            )
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
