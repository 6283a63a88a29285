from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pipeline.checks.consequences import FAILS_TO_GENERALIZE
from pipeline.checks.finding import Finding, Signals
from pipeline.checks.layer_stats import relative_gradients
from pipeline.validation import number


@dataclass(frozen=True)
class ExplodingGradients:
    """Anti-pattern: gradients that grow on their way back through the layers.

    Rule: gradient / weight of the first hidden layer is at most `max_ratio` times that of the last hidden layer.
    """

    max_ratio: float
    explains: ClassVar[tuple[str, ...]] = ("nonfinite", *FAILS_TO_GENERALIZE)

    def __post_init__(self) -> None:
        number("max_ratio", self.max_ratio, above=1)

    def __call__(self, signals: Signals) -> Finding | None:
        layers = [(name, value) for name, value in relative_gradients(signals) if value > 0]
        if len(layers) < 2:
            return None
        (first, largest), (last, smallest) = layers[0], layers[-1]
        if not largest > self.max_ratio * smallest:
            return None
        return Finding(
            check="exploding_gradients",
            severity="warning",
            measured={"first": largest, "last": smallest, "ratio": largest / smallest},
            expected=f"a ratio of at most {self.max_ratio:g} between the first and the last hidden layer",
            message=f"Gradient / weight is {largest:.2g} in {first} and {smallest:.2g} in {last}: it grows "
            f"{largest / smallest:.3g} times on its way back.",
            why="A rate at which the last layers learn throws the first ones about.",
            remedy=("init=he", "batchnorm=before_activation"),
            source="Pascanu et al. 2013, On the difficulty of training recurrent neural networks; He et al. 2015",
            where=first,
            step=0,
        )
