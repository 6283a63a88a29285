from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pipeline.checks.consequences import FAILS_TO_GENERALIZE, LEARNING_RATE
from pipeline.checks.finding import Finding, Signals


@dataclass(frozen=True)
class WrongDirection:
    """Anti-pattern: an optimizer that climbs, by a flipped sign or a `maximize` left on.

    Rule: the first update makes an obtuse angle with the gradient: its cosine is negative (-1 for plain descent, about
    -0.8 for the signs that Adam takes).
    """

    explains: ClassVar[tuple[str, ...]] = (
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
        return Finding(
            check="wrong_direction",
            severity="failure",
            measured={"update_direction": cosine},
            expected="a negative cosine between the gradient and the first update",
            message=f"The first update points up the gradient (cosine {cosine:.2f}): training raises the loss.",
            why="Every step makes the network worse: the sign of the update is flipped, or maximize is on.",
            remedy=(),
            source="gradient descent: w -= lr g",
            step=0,
        )
