from __future__ import annotations

from dataclasses import dataclass

from pipeline.checks.consequences import FAILS_TO_GENERALIZE
from pipeline.checks.finding import Finding
from pipeline.checks.layer_stats import initial_layers
from pipeline.checks.rule import Rule
from pipeline.checks.training_curves import to_float
from pipeline.signals.schema import Signals
from pipeline.validation import number

NORMALIZED = 1.0
"""Standard deviation of a normalized unit."""


@dataclass(frozen=True)
class ExplodingActivations(Rule):
    """Anti-pattern: weights so large (1 * randn) that activations grow by sqrt(fan_in / 2) from layer to layer.

    Fires when, before training, the standard deviation over examples of a hidden activation exceeds `warning` times
    that of the input; above `failure` times it is a failure. He's initialization preserves it, and a residual network
    without normalization grows by sqrt(2) in each block. Batch normalization gives every unit a standard deviation of
    1 however little the input varies, so that the comparison is with 1 where the input has less; and what stays below
    1 has not exploded.
    """

    check = "exploding_activations"
    reads = ("activations", "input_std", "batchnorm_layers")
    needs = ("activations.name", "input_std")
    severities = ("failure", "warning")
    why = (
        "The logits are as large, so the network is certain of its answers before it has learned any, and the "
        "gradients are larger still."
    )
    source = "lecture notes, large random numbers; He et al. 2015, section 2.2"
    remedies = ("init=he", "batchnorm=before_activation")
    advice = (
        "Keep the spread of the signal from layer to layer: weights of variance 2 / inputs, or a normalization "
        "before each activation."
    )
    code = "nn.init.kaiming_normal_(layer.weight)"
    explains = (
        "vanishing_gradients",
        "exploding_gradients",
        "nonfinite",
        "initial_loss",
        "input_ignored",
        "unreachable_parameters",
        *FAILS_TO_GENERALIZE,
    )

    warning: float
    failure: float

    def __post_init__(self) -> None:
        number("warning", self.warning, above=1)
        number("failure", self.failure, at_least=self.warning)

    def __call__(self, signals: Signals) -> Finding | None:
        layers, input_std = initial_layers(signals), to_float(signals.get("input_std"))
        if not layers or not input_std > 0:
            return None
        worst = max(layers, key=lambda layer: to_float(layer["unit_std"]))
        largest = to_float(worst["unit_std"])
        usual = max(input_std, NORMALIZED) if signals.get("batchnorm_layers") else input_std
        times = largest / usual
        if not times > self.warning or largest <= NORMALIZED:
            return None
        return self.finding(
            "failure" if times > self.failure else "warning",
            measured={"input_std": input_std, "largest_std": largest, "times": times},
            expected=f"a standard deviation of at most {self.warning:g} times "
            + (f"the input's {input_std:.2g}" if usual == input_std else "that of a normalized unit"),
            message=f"Activations have a standard deviation of {largest:.3g} in {worst['name']}, "
            f"{largest / input_std:.3g} times that of the input.",
            remedy=self.remedies,
            where=worst["name"],
            step=0,
        )
