from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pipeline.checks.consequences import FAILS_TO_GENERALIZE, LEARNING_RATE
from pipeline.checks.finding import Finding, Signals


@dataclass(frozen=True)
class LossReduction:
    """Anti-pattern: a loss that sums over the batch, so that the rate means something else for every batch size.

    Rule: the loss of a batch given twice over is that of the batch (a sum is twice as large), within 1 %.
    """

    explains: ClassVar[tuple[str, ...]] = (
        "loss_disagrees",
        "exploding_gradients",
        "nonfinite",
        "initial_loss",
        *LEARNING_RATE,
        *FAILS_TO_GENERALIZE,
    )

    def __call__(self, signals: Signals) -> Finding | None:
        ratio = signals.get("doubled_loss_ratio")
        if ratio is None or not ratio > 1.01:
            return None
        size, rate = signals["batch_size"], signals["lr"]
        return Finding(
            check="loss_reduction",
            severity="warning",
            measured={"doubled_loss_ratio": ratio, "first_loss": signals["first_loss"]},
            expected="a mean over the batch: a ratio of 1",
            message=f"A batch given twice over has {ratio:.3g} times the loss: the loss sums over the examples.",
            why=f"Gradients are {size} times those of the mean, so the rate acts as if it were {size} times as high, "
            "and changes with the batch size; the penalty weighs less by the same factor.",
            remedy=(f"optimizer.lr={rate / size:.3g}",),
            source="Stack Overflow 43611745; lecture notes, step 3: is the loss reasonable",
            step=0,
        )
