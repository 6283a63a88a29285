from __future__ import annotations

from dataclasses import dataclass

from pipeline.checks.consequences import FAILS_TO_GENERALIZE
from pipeline.checks.finding import Finding
from pipeline.checks.layer_stats import relative_gradients
from pipeline.checks.rule import Rule
from pipeline.signals.schema import Signals
from pipeline.validation import number


@dataclass(frozen=True)
class VanishingGradients(Rule):
    """Anti-pattern: a deep stack of layers each of which passes on a fraction of the gradient (a sigmoid at most a
    quarter), so that the first ones hardly learn.

    Fires when gradient / weight (root mean squares) of the first hidden layer is below `min_ratio` times that of the
    last hidden layer; below the square of `min_ratio` it is a failure.
    """

    check = "vanishing_gradients"
    reads = ("gradients", "activations")
    needs = ("gradients.name",)
    severities = ("failure", "warning")
    why = "With one learning rate for all layers the first ones stand still while the last ones learn."
    source = "lecture notes, sigmoid kills gradients; Hochreiter 1991; Glorot & Bengio 2010"
    remedies = ("activation=relu", "init=he", "batchnorm=before_activation")
    advice = "Give the gradient a path around each block."
    code = "x = x + self.block(x)"
    explains = (
        "input_ignored",
        "unreachable_parameters",
        "frozen_weights",
        *FAILS_TO_GENERALIZE,
    )

    min_ratio: float

    def __post_init__(self) -> None:
        number("min_ratio", self.min_ratio, above=0, below=1)

    def __call__(self, signals: Signals) -> Finding | None:
        layers = [(name, value) for name, value in relative_gradients(signals) if value == value]
        if len(layers) < 2:
            return None
        (first, smallest), (last, largest) = layers[0], layers[-1]
        if not 0 < smallest < self.min_ratio * largest:
            return None
        kinds = (signals.get("activations") or {}).get("kind") or [""]
        ratio = smallest / largest
        return self.finding(
            "failure" if smallest < self.min_ratio**2 * largest else "warning",
            measured={"first": smallest, "last": largest, "ratio": ratio},
            expected=f"a ratio of at least {self.min_ratio:g} between the first and the last hidden layer",
            message=f"Gradient / weight is {smallest:.2g} in {first} and {largest:.2g} in {last}: {ratio:.1g} of it is "
            "left at the first layer.",
            remedy=self.remedies if kinds[0] in ("sigmoid", "tanh", "softmax") else self.remedies[1:],
            where=first,
            step=0,
        )
