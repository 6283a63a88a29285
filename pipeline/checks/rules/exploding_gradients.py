from __future__ import annotations

from dataclasses import dataclass

from pipeline.checks.consequences import FAILS_TO_GENERALIZE
from pipeline.checks.finding import Finding
from pipeline.checks.layer_stats import relative_gradients
from pipeline.checks.rule import Rule
from pipeline.signals.schema import Signals
from pipeline.validation import number


@dataclass(frozen=True)
class ExplodingGradients(Rule):
    """Anti-pattern: gradients that grow on their way back through the layers.

    Fires when gradient / weight (root mean squares) of the first hidden layer is more than `max_ratio` times that of
    the last hidden layer.
    """

    check = "exploding_gradients"
    reads = ("gradients",)
    needs = ("gradients.name",)
    severities = ("warning",)
    why = "A learning rate at which the last layers learn is far too high for the first ones."
    source = "Pascanu et al. 2013, On the difficulty of training recurrent neural networks; He et al. 2015"
    remedies = ("init=he", "batchnorm=before_activation")
    advice = "Begin with weights of variance 2 / inputs, and bound the norm of the gradient."
    code = "nn.utils.clip_grad_norm_(model.parameters(), 1.0)"
    explains = ("nonfinite", *FAILS_TO_GENERALIZE)

    max_ratio: float

    def __post_init__(self) -> None:
        number("max_ratio", self.max_ratio, above=1)

    def __call__(self, signals: Signals) -> Finding | None:
        layers = [(name, value) for name, value in relative_gradients(signals) if value > 0]
        if len(layers) < 2:
            return None
        (first, largest), (last, smallest) = layers[0], layers[-1]
        if not largest > self.max_ratio * smallest:
            return None
        return self.finding(
            "warning",
            measured={"first": largest, "last": smallest, "ratio": largest / smallest},
            expected=f"a ratio of at most {self.max_ratio:g} between the first and the last hidden layer",
            message=f"Gradient / weight is {largest:.2g} in {first} and {smallest:.2g} in {last}: it grows "
            f"{largest / smallest:.3g} times on its way back.",
            remedy=self.remedies,
            where=first,
            step=0,
        )
