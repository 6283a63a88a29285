from __future__ import annotations

from dataclasses import dataclass

from pipeline.checks.consequences import FAILS_TO_GENERALIZE, LEARNING_RATE
from pipeline.checks.finding import Finding
from pipeline.checks.rule import Rule
from pipeline.errors import list_names
from pipeline.signals.schema import Signals
from pipeline.validation import number


@dataclass(frozen=True)
class MissingNonlinearity(Rule):
    """Anti-pattern: weight layers that follow each other with nothing non-linear between them. Together they are worth
    a single one: W2 (W1 x) = (W2 W1) x.

    Fires when at least `max_share` of the pairs of neighbouring weight layers are of this kind; a failure when all are.
    A pair whose first layer is narrower than its input and its output (a linear bottleneck, MobileNetV2), or that is
    grouped or depthwise (separable convolutions), limits the map on purpose and does not count.
    """

    check = "missing_nonlinearity"
    reads = ("linear_pairs", "weight_pairs")
    severities = ("failure", "warning")
    why = (
        "However deep it is, the network can compute no more than one without these layers; if all of them are linear, "
        "no more than a linear classifier."
    )
    source = "lecture notes: an activation function provides non-linearity; Stack Overflow 56888491, 48385830"
    remedies = ("activation=relu",)
    advice = "Put an activation between any two weight layers."
    code = "block = nn.Sequential(nn.Linear(inputs, units), nn.ReLU(), nn.Linear(units, outputs))"
    explains = (
        "vanishing_activations",
        "exploding_activations",
        "vanishing_gradients",
        "exploding_gradients",
        "initial_loss",
        *LEARNING_RATE,
        *FAILS_TO_GENERALIZE,
    )

    max_share: float

    def __post_init__(self) -> None:
        number("max_share", self.max_share, above=0, at_most=1)

    def __call__(self, signals: Signals) -> Finding | None:
        linear, total = signals.get("linear_pairs"), signals.get("weight_pairs")
        if not linear or not total or len(linear) < self.max_share * total:
            return None
        listed = list_names([f"{first} and {second}" for first, second in linear], separator="; ")
        return self.finding(
            "failure" if len(linear) >= total else "warning",
            measured={"linear_pairs": float(len(linear)), "neighbouring_layers": float(total)},
            expected="a non-linear function between any two weight layers",
            message=f"{len(linear)} of {total} pairs of neighbouring layers have nothing non-linear between them: "
            f"{listed}.",
            remedy=self.remedies,
            where=linear[0][0],
            step=0,
        )
