from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pipeline.checks.consequences import FAILS_TO_GENERALIZE
from pipeline.checks.finding import Finding, Signals
from pipeline.checks.layer_stats import activation_layers, to_float
from pipeline.validation import number


@dataclass(frozen=True)
class ExplodingActivations:
    """Anti-pattern: weights so large (1 * randn) that activations grow by sqrt(fan_in / 2) from layer to layer.

    Rule: the spread over examples of no hidden activation exceeds that of the input by `warning` times (a failure from
    `failure` times on). He's scale keeps it; a residual net without normalization grows by sqrt(2) a block.
    """

    warning: float
    failure: float
    explains: ClassVar[tuple[str, ...]] = (
        "vanishing_gradients",
        "exploding_gradients",
        "nonfinite",
        "initial_loss",
        "input_ignored",
        "unreachable_parameters",
        *FAILS_TO_GENERALIZE,
    )

    def __post_init__(self) -> None:
        number("warning", self.warning, above=1)
        number("failure", self.failure, at_least=self.warning)

    def __call__(self, signals: Signals) -> Finding | None:
        layers, spread = activation_layers(signals), to_float(signals.get("input_std"))
        if "samples" in signals or not layers or not spread > 0:  # judged before training
            return None
        worst = max(layers, key=lambda layer: to_float(layer["unit_std"]))
        times = to_float(worst["unit_std"]) / spread
        if not times > self.warning:
            return None
        return Finding(
            check="exploding_activations",
            severity="failure" if times > self.failure else "warning",
            measured={"input_std": spread, "largest_std": to_float(worst["unit_std"]), "times": times},
            expected=f"a spread of at most {self.warning:g} times the input's {spread:.2g}",
            message=f"Activations spread by {to_float(worst['unit_std']):.3g} in {worst['name']}, {times:.3g} times "
            "the input's spread.",
            why="The logits are as large, so the network is sure of its answers before it has learned any, and the "
            "gradients are larger still.",
            remedy=("init=he", "batchnorm=before_activation"),
            source="lecture notes, large random numbers; He et al. 2015, section 2.2",
            where=worst["name"],
            step=0,
        )
