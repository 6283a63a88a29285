from __future__ import annotations

from dataclasses import dataclass

from pipeline.checks.consequences import FAILS_TO_GENERALIZE, LEARNING_RATE
from pipeline.checks.finding import Finding
from pipeline.checks.rule import Rule
from pipeline.signals.schema import Signals


@dataclass(frozen=True)
class BatchLeak(Rule):
    """Anti-pattern: a reshape or a softmax along the wrong axis mixes the examples of a batch.

    Fires when the gradient of one example's loss with respect to another example's input is not exactly zero, with
    batchnorm on its running statistics.
    """

    check = "batch_leak"
    reads = ("leaking_examples", "leak_examples", "leak_gradient")
    severities = ("failure",)
    why = (
        "A network that mixes examples computes other scores in every batch, and can read labels off neighbouring "
        "examples. Look for a view, reshape, transpose or softmax over the first axis."
    )
    source = "Karpathy, A Recipe for Training Neural Networks (use backprop to chart dependencies)"
    explains = (
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
        return self.finding(
            "failure",
            measured={"leaking_examples": float(leaking), "largest_gradient": float(signals["leak_gradient"])},
            expected="a gradient of exactly 0 from one example's loss to every other example",
            message=f"The loss of one example depends on {leaking} of the {others} other examples in its batch.",
        )
