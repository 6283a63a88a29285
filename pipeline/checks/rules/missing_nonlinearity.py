from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pipeline.checks.consequences import FAILS_TO_GENERALIZE, LEARNING_RATE
from pipeline.checks.finding import Finding, Signals
from pipeline.validation import number


@dataclass(frozen=True)
class MissingNonlinearity:
    """Anti-pattern: weight layers that follow each other with nothing non-linear between them, which together are worth
    a single one: W2 (W1 x) = (W2 W1) x.

    Rule: less than a share `max_share` of the neighbouring weight layers is such a pair. A pair whose first layer is
    narrower than its input and its output (a linear bottleneck, MobileNetV2), or that is grouped or depthwise
    (separable convolutions), limits the map on purpose and does not count.
    """

    max_share: float
    explains: ClassVar[tuple[str, ...]] = (
        "vanishing_activations",
        "exploding_activations",
        "vanishing_gradients",
        "exploding_gradients",
        "initial_loss",
        *LEARNING_RATE,
        *FAILS_TO_GENERALIZE,
    )

    def __post_init__(self) -> None:
        number("max_share", self.max_share, above=0, at_most=1)

    def __call__(self, signals: Signals) -> Finding | None:
        pairs, neighbours = signals.get("linear_pairs"), signals.get("weight_pairs")
        if not pairs or not neighbours or len(pairs) < self.max_share * neighbours:
            return None
        every = len(pairs) >= neighbours
        shown = "; ".join(f"{a} and {b}" for a, b in pairs[:3]) + (" ..." if len(pairs) > 3 else "")
        return Finding(
            check="missing_nonlinearity",
            severity="failure" if every else "warning",
            measured={"linear_pairs": float(len(pairs)), "neighbouring_layers": float(neighbours)},
            expected="a non-linear function between any two weight layers",
            message=f"{len(pairs)} of {neighbours} pairs of neighbouring layers have nothing non-linear between them: "
            f"{shown}.",
            why="However deep it is, the network can compute no more than "
            + ("a linear classifier." if every else "one without these layers."),
            remedy=("activation=relu",),
            source="lecture notes: an activation function provides non-linearity; Stack Overflow 56888491, 48385830",
            where=pairs[0][0],
            step=0,
        )
