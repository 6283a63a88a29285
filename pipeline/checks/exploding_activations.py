from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pipeline.checks.consequences import HARM
from pipeline.checks.finding import Finding, Signals
from pipeline.checks.layers import activation_layers, number
from pipeline.fields import real


@dataclass(frozen=True)
class ExplodingActivations:
    """Anti-pattern: weights so large (1 * randn) that activations grow by sqrt(fan_in / 2) from layer to layer.

    Rule: the spread over examples of no hidden activation exceeds that of the input by `large` times (a failure from
    `huge` times on). He's scale keeps it; a residual net without normalization grows by sqrt(2) a block.
    """

    large: float
    huge: float
    explains: ClassVar[tuple[str, ...]] = (
        "vanishing_gradients",
        "exploding_gradients",
        "nonfinite",
        "initial_loss",
        "input_ignored",
        "unreachable_parameters",
        *HARM,
    )

    def __post_init__(self) -> None:
        real("large", self.large, above=1)
        real("huge", self.huge, at_least=self.large)

    def __call__(self, signals: Signals) -> Finding | None:
        layers, spread = activation_layers(signals), number(signals.get("input_std"))
        if "samples" in signals or not layers or not spread > 0:  # judged before training
            return None
        worst = max(layers, key=lambda layer: number(layer["unit_std"]))
        times = number(worst["unit_std"]) / spread
        if not times > self.large:
            return None
        return Finding(
            check="exploding_activations",
            severity="failure" if times > self.huge else "warning",
            measured={"input_std": spread, "largest_std": number(worst["unit_std"]), "times": times},
            expected=f"a spread of at most {self.large:g} times the input's {spread:.2g}",
            message=f"Activations spread by {number(worst['unit_std']):.3g} in {worst['name']}, {times:.3g} times the "
            "input's spread.",
            why="The logits are as large, so the network is sure of its answers before it has learned any, and the "
            "gradients are larger still.",
            remedy=("init=he", "batchnorm=before_activation"),
            source="lecture notes, large random numbers; He et al. 2015, section 2.2",
            where=worst["name"],
            step=0,
        )
