from __future__ import annotations

from dataclasses import dataclass

from pipeline.checks.consequences import FAILS_TO_GENERALIZE, LEARNING_RATE
from pipeline.checks.finding import Finding
from pipeline.checks.rule import Rule
from pipeline.signals.schema import Signals


@dataclass(frozen=True)
class BatchLeak(Rule):
    """Anti-pattern: a reshape or a softmax along the wrong axis mixes the examples of a batch.

    Fires when the gradient of one example's output with respect to another example's input is not exactly zero, with
    batchnorm on its running statistics. It is a warning where batchnorm layers that were built without running
    statistics (`track_running_stats=False`) are what mixes the examples.
    """

    check = "batch_leak"
    reads = ("leaking_examples", "leak_examples", "leak_gradient", "leaking_operation", "leaks_by_design")
    severities = ("failure", "warning")
    why = (
        "A network that mixes examples computes other scores in every batch, and can read labels off neighbouring "
        "examples. Look for a view, reshape, transpose or softmax over the first axis."
    )
    source = "Karpathy, A Recipe for Training Neural Networks (use backprop to chart dependencies)"
    advice = "Keep the first dimension for the examples: flatten, reshape and normalize over the others alone."
    code = "x = x.flatten(1)"
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
        operation, by_design = signals.get("leaking_operation"), bool(signals.get("leaks_by_design"))
        source = f" The first operation that mixes them is {operation}." if operation else ""
        advice, code = _change(operation or "", self.advice, self.code)
        return self.finding(
            "warning" if by_design else "failure",
            measured={"leaking_examples": float(leaking), "largest_gradient": float(signals["leak_gradient"])},
            expected="a gradient of exactly 0 from one example's output to every other example",
            message=f"In evaluation mode the output for one example depends on {leaking} of the {others} other "
            f"examples in its batch.{source}",
            where=operation.rpartition(" in ")[2] if operation and " in " in operation else None,
            advice=advice,
            code=code,
        )


def _change(operation: str, advice: str, code: str) -> tuple[str, str]:
    """Return what to change for an operation in words and as one line of code; the given ones if it says nothing."""
    if operation.startswith("batch normalization"):
        return (
            "Let batchnorm use its running statistics in evaluation.",
            "x = F.batch_norm(x, running_mean, running_var, training=self.training)",
        )
    name, along, _ = operation.partition(" over axis 0")
    if along:
        return f"Take {name} along another axis than that of the examples.", f"x = x.{name}(dim=1)"
    return advice, code
