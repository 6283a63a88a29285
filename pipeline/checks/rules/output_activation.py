from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pipeline.checks.consequences import FAILS_TO_GENERALIZE, LEARNING_RATE
from pipeline.checks.finding import Finding, Signals

_BOUNDED = ("relu", "sigmoid", "tanh", "hardtanh", "elu", "silu", "gelu", "softplus", "leaky_relu")
_PLAIN = ("CrossEntropy", "Hinge")
"""Losses that take any real number as a logit."""
_PROBABILITIES = 0.05
"""Nats or squares: a loss that is below this for outputs of 0 and 1 takes probabilities, not logits. Cross-entropy on
them is -ln(e / (e + C - 1)), 0.31 for two classes and more for others."""


@dataclass(frozen=True)
class OutputActivation:
    """Anti-pattern: something stands between the last weights and a loss that wants the bare logits: a softmax (the
    gradient fades twice over), a ReLU (a class whose logit is negative never learns), a sigmoid or tanh (no confident
    answer can be given), dropout (right answers are thrown away), batch normalization (classes are given equal shares).

    Rule: nothing but linear operations follows the last weights, unless the loss takes probabilities (it is about 0 for
    outputs that are 1 for the right class and 0 elsewhere) and the outputs are such.
    """

    explains: ClassVar[tuple[str, ...]] = (
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
        words = [word for word in signals.get("output_operations", ()) if word != "log_softmax"]
        if "average" in words:  # the pooled output of a convolution: SqueezeNet ends in ReLU and average
            words = words[words.index("average") + 1 :]
        if not words and signals.get("output_sums_to_one"):
            words = ["softmax"]
        if not words:
            return None
        takes_probabilities = signals.get("perfect_probability_loss", 1.0) < _PROBABILITIES
        bounded = [word for word in words if word == "softmax" or word in _BOUNDED]
        if takes_probabilities and bounded and signals.get("loss") not in _PLAIN:
            words = [word for word in words if word not in bounded]
        if not words:
            return None
        word = max(words, key=lambda w: (w == "softmax", w == "dropout", w == "batch_norm"))
        return Finding(
            check="output_activation",
            severity="failure" if word in ("softmax", "relu", "dropout", "sigmoid") else "warning",
            measured={"operations_after_last_weights": float(len(words))},
            expected="logits: the last linear layer's output as it is",
            message=f"After the last weights comes {_SAID.get(word, word)}, and the loss takes logits.",
            why=_WHY.get(word, "The loss cannot see, and the gradient cannot pass, what the function cuts off."),
            remedy=(),
            source="Stack Overflow 68101077, 47352366, 44755431; torch.nn.CrossEntropyLoss expects unnormalized logits",
            where=" ".join(words),
            step=0,
        )


_SAID = {"softmax": "a softmax", "relu": "a ReLU", "batch_norm": "batch normalization", "log_softmax": "a log-softmax"}
_WHY = {
    "softmax": "The loss applies a softmax of its own: the logits it sees lie between 0 and 1, so no answer can be "
    "confident (with ten classes the loss stays above 1.46) and the gradient fades. Return the last layer's output.",
    "relu": "A class whose output is negative gets no gradient, and a network whose outputs are all negative gets none "
    "at all. Return the last layer's output.",
    "dropout": "It throws away a share of the answers, right ones too. Move it before the last layer.",
    "batch_norm": "It forces the same mean and spread on every class's logit, whatever the images say, and the answer "
    "to one image then depends on the others of its batch. Move it before the last layer.",
    "sigmoid": "Outputs between 0 and 1 allow no confident answer under a loss that takes logits, and saturate. "
    "Return the last layer's output.",
}
