from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pipeline.checks.consequences import FAILS_TO_GENERALIZE, LEARNING_RATE
from pipeline.checks.finding import Finding, Signals


@dataclass(frozen=True)
class BatchLeak:
    """Anti-pattern: a reshape or a softmax along the wrong axis mixes the examples of a batch.

    Rule: with batchnorm on its running statistics, the gradient of example i's loss with respect to any other
    example's input is exactly zero.
    """

    explains: ClassVar[tuple[str, ...]] = (
        "output_activation",
        "loss_disagrees",
        "vanishing_activations",
        "vanishing_gradients",
        "initial_loss",
        "input_ignored",
        "unreachable_parameters",
        *LEARNING_RATE,
        *FAILS_TO_GENERALIZE,
    )

    def __call__(self, signals: Signals) -> Finding | None:
        if not signals.get("leaking_examples"):
            return None
        leaking, others = signals["leaking_examples"], signals["leak_examples"]
        return Finding(
            check="batch_leak",
            severity="failure",
            measured={"leaking_examples": float(leaking), "largest_gradient": float(signals["leak_gradient"])},
            expected="a gradient of exactly 0 from one example's loss to every other example",
            message=f"The loss of one example depends on {leaking} of the {others} other examples in its batch.",
            why="A network that mixes examples scores differently in every batch and can read labels from neighbours; "
            "look for a view, reshape, transpose or softmax over the first axis.",
            remedy=(),
            source="Karpathy, A Recipe for Training Neural Networks (use backprop to chart dependencies)",
        )
