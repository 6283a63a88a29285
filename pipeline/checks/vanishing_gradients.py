from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pipeline.checks.consequences import HARM
from pipeline.checks.finding import Finding, Signals
from pipeline.checks.layers import hidden_gradients, number
from pipeline.fields import real


@dataclass(frozen=True)
class VanishingGradients:
    """Anti-pattern: a deep stack of layers each of which passes on a fraction of the gradient (a sigmoid at most a
    quarter), so that the first ones hardly learn.

    Rule: gradient / weight of the first hidden layer is at least `ratio` times that of the last hidden layer.
    """

    ratio: float
    explains: ClassVar[tuple[str, ...]] = ("input_ignored", "unreachable_parameters", "frozen_weights", *HARM)

    def __post_init__(self) -> None:
        real("ratio", self.ratio, above=0, below=1)

    def __call__(self, signals: Signals) -> Finding | None:
        layers = [(name, value) for name, value in hidden_gradients(signals) if value == value]
        if len(layers) < 2:
            return None
        (first, smallest), (last, largest) = layers[0], layers[-1]
        if not 0 < smallest < self.ratio * largest:
            return None
        kinds = (signals.get("activations") or {}).get("kind") or [""]
        squashing = kinds[0] in ("sigmoid", "tanh", "softmax")
        return Finding(
            check="vanishing_gradients",
            severity="failure" if smallest < self.ratio**2 * largest else "warning",
            measured={"first": smallest, "last": largest, "ratio": number(smallest / largest)},
            expected=f"a ratio of at least {self.ratio:g} between the first and the last hidden layer",
            message=f"Gradient / weight is {smallest:.2g} in {first} and {largest:.2g} in {last}: "
            f"{smallest / largest:.1g} of it is left at the first layer.",
            why="With one rate for all layers the first ones stand still while the last ones learn.",
            remedy=("activation=relu", "init=he", "batchnorm=before_activation")
            if squashing
            else ("init=he", "batchnorm=before_activation"),
            source="lecture notes, sigmoid kills gradients; Hochreiter 1991; Glorot & Bengio 2010",
            where=first,
            step=0,
        )
