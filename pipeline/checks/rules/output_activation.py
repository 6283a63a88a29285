from __future__ import annotations

import math
from dataclasses import dataclass

from pipeline.checks.consequences import FAILS_TO_GENERALIZE, LEARNING_RATE
from pipeline.checks.finding import Finding
from pipeline.checks.rule import Rule
from pipeline.signals.schema import Signals

RANGES = {
    "softmax": (0.0, 1.0), "sigmoid": (0.0, 1.0), "tanh": (-1.0, 1.0), "hardtanh": (-1.0, 1.0), "relu": (0.0, math.inf),
    "softplus": (0.0, math.inf), "elu": (-1.0, math.inf), "silu": (-0.2785, math.inf), "gelu": (-0.17, math.inf),
    "leaky_relu": (-math.inf, math.inf),
}  # fmt: skip
"""Activation -> the smallest and the largest value that it can have."""
RANGE_ROUNDING = 1e-3
"""Distance by which a label may lie outside of a range."""
LOGIT_LOSSES = ("CrossEntropy", "Hinge")
"""Losses that take any real number as a logit."""
PROBABILITY_LOSS = 0.05
"""A loss that is below this (nats or squares) for outputs of 0 and 1 takes probabilities, not logits. Cross-entropy on
them is -ln(e / (e + C - 1)), 0.31 for two classes and more for others."""
EFFECTS = {
    "softmax": "a softmax, and the loss applies one of its own: the logits lie between 0 and 1, so no answer can be "
    "confident (with ten classes the loss stays above 1.46) and the gradient fades",
    "relu": "a ReLU: a class whose output is negative gets no gradient",
    "dropout": "dropout: it throws away a share of the answers, right ones too",
    "batch_norm": "batch normalization: it forces the same mean and spread on every class's logit, and the answer to "
    "one image depends on the others of its batch",
    "sigmoid": "a sigmoid: outputs between 0 and 1 allow no confident answer, and saturate",
}


@dataclass(frozen=True)
class OutputActivation(Rule):
    """Anti-pattern: something between the last weights and a loss that takes logits: a softmax (the gradient fades
    twice over), a ReLU (a class whose logit is negative never learns), a sigmoid or tanh (no answer can be confident),
    dropout (right answers are thrown away), batch normalization (all classes get equal shares).

    Fires when an operation that is not linear follows the last weights, unless the loss takes probabilities (it is
    about 0 for outputs that are 1 for the right class and 0 elsewhere) and the outputs are probabilities. Where labels
    are real numbers, an activation is right whose values include all labels, if the loss is least for outputs that
    equal the labels: a sigmoid before binary cross-entropy of probabilities, a ReLU for counts.
    """

    check = "output_activation"
    reads = (
        "output_operations",
        "output_sums_to_one",
        "perfect_probability_loss",
        "loss",
        "labels_are_best_outputs",
        "label_range",
        "task",
    )
    needs = ("output_operations", "perfect_probability_loss|labels_are_best_outputs")
    severities = ("failure", "warning")
    why = (
        "The loss takes logits: any real number for each class. What the operation cuts off, the loss cannot see and "
        "the gradient cannot pass. Return the last layer's output; dropout and normalization belong before that layer."
    )
    source = "Stack Overflow 68101077, 47352366, 44755431; torch.nn.CrossEntropyLoss expects unnormalized logits"
    advice = "Return the output of the last linear layer, with nothing behind it."
    code = "logits = self.output(x)"
    explains = (
        "loss_disagrees",
        "saturated_units",
        "dead_units",
        "vanishing_gradients",
        "exploding_gradients",
        "nonfinite",
        "initial_loss",
        "input_ignored",
        "unreachable_parameters",
        "frozen_weights",
        *LEARNING_RATE,
        *FAILS_TO_GENERALIZE,
    )

    def __call__(self, signals: Signals) -> Finding | None:
        operations = [name for name in signals.get("output_operations", ()) if name != "log_softmax"]
        if "average" in operations:  # the pooled output of a convolution: SqueezeNet ends in ReLU and average
            operations = operations[operations.index("average") + 1 :]
        if not operations and signals.get("output_sums_to_one"):
            operations = ["softmax"]
        fitting = _fitting_activations(signals)
        operations = [name for name in operations if name not in fitting]
        if not operations:
            return None
        worst = max(operations, key=lambda name: (name == "softmax", name == "dropout", name == "batch_norm"))
        return self.finding(
            "failure" if worst in ("softmax", "relu", "dropout", "sigmoid") else "warning",
            measured={"operations_after_last_weights": float(len(operations))},
            expected="logits: the output of the last linear layer",
            message=f"The last weights are followed by {_effect(worst, signals)}.",
            where=" ".join(operations),
            step=0,
        )


def _effect(operation: str, signals: Signals) -> str:
    """Return what the operation does to the answers; a softmax with another loss than cross-entropy of classes."""
    if operation == "softmax" and signals.get("task"):
        return "a softmax: the outputs lie between 0 and 1 and have the sum 1, so each depends on all others"
    return EFFECTS.get(operation, operation)


def _fitting_activations(signals: Signals) -> list[str]:
    """Return the activations that the outputs may have, since the loss takes what they give."""
    if "perfect_probability_loss" in signals:
        is_perfect = signals["perfect_probability_loss"] < PROBABILITY_LOSS
        return list(RANGES) if is_perfect and signals.get("loss") not in LOGIT_LOSSES else []
    if not signals.get("labels_are_best_outputs", True):
        return []
    lowest, highest = signals.get("label_range", (0.0, 0.0))
    return [
        name
        for name, (low, high) in RANGES.items()
        if low - RANGE_ROUNDING <= lowest and highest <= high + RANGE_ROUNDING
    ]
