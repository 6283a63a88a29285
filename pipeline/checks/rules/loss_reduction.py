from __future__ import annotations

from dataclasses import dataclass

from pipeline.checks.consequences import FAILS_TO_GENERALIZE, LEARNING_RATE
from pipeline.checks.finding import Finding
from pipeline.checks.rule import Rule
from pipeline.signals.schema import Signals


@dataclass(frozen=True)
class LossReduction(Rule):
    """Anti-pattern: a loss that sums over the batch, so that a learning rate has another effect at each batch size.

    Fires when the loss of a batch given twice over is more than 1.01 times the loss of the batch (1 for a mean, 2 for
    a sum), and that of a batch given three times over exceeds it by twice as much, as sums do: the mean of a fixed
    number of the hardest examples rises more slowly.
    """

    check = "loss_reduction"
    reads = ("doubled_loss_ratio", "tripled_loss_ratio", "batch_size", "first_loss", "lr")
    severities = ("warning",)
    why = (
        "Gradients of a sum are larger by the number of examples in a batch, so the learning rate acts as if it were "
        "higher by that factor and changes with the batch size; the penalty counts for less by the same factor."
    )
    source = "Stack Overflow 43611745; lecture notes, step 3: is the loss reasonable"
    remedies = ("optimizer.lr=...",)
    advice = "Let the loss be the mean over the examples of a batch."
    code = 'loss = F.cross_entropy(logits, labels, reduction="mean")'
    explains = (
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
        tripled = signals.get("tripled_loss_ratio", 2 * ratio - 1)
        if abs(tripled - (2 * ratio - 1)) > 0.01 * tripled:
            return None
        size, lr = signals["batch_size"], signals.get("lr")
        return self.finding(
            "warning",
            measured={"doubled_loss_ratio": ratio, "first_loss": signals["first_loss"]},
            expected="a mean over the batch: a ratio of 1",
            message=f"A batch given twice over has {ratio:.3g} times the loss: the loss sums over the examples, and "
            f"gradients are {size} times those of the mean.",
            remedy=() if lr is None else (f"optimizer.lr={lr / size:.3g}",),
            step=0,
        )
