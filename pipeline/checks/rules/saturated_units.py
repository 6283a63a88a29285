from __future__ import annotations

from dataclasses import dataclass

from pipeline.checks.consequences import FAILS_TO_GENERALIZE
from pipeline.checks.finding import Finding
from pipeline.checks.layer_stats import initial_layers
from pipeline.checks.rule import Rule
from pipeline.checks.training_curves import to_float
from pipeline.signals.schema import Signals
from pipeline.validation import number


@dataclass(frozen=True)
class SaturatedUnits(Rule):
    """Anti-pattern: sigmoid or tanh units driven to their bounds, where their slope is almost 0. "Saturated neurons
    kill the gradients."

    Fires when, before training, more than `warning` of the values of a layer of bounded activations are within 2 % of
    the range from a bound; above `failure` it is a failure. For standard normal inputs tanh has 5 % of its values
    there, sigmoid 0.01 %. A trained unit may well be certain, so later steps do not count.
    """

    check = "saturated_units"
    reads = ("activations",)
    needs = ("activations.name",)
    severities = ("failure", "warning")
    why = "There the slope is almost zero, so no gradient passes, and the weights before it hardly change."
    source = "lecture notes, sigmoid and large random numbers; Glorot & Bengio 2010, section 3"
    remedies = ("init=xavier", "batchnorm=before_activation")
    advice = "Begin with smaller weights, or normalize what goes into the activation."
    code = "nn.init.xavier_normal_(layer.weight)"
    explains = (
        "vanishing_activations",
        "exploding_activations",
        "vanishing_gradients",
        "exploding_gradients",
        "initial_loss",
        "input_ignored",
        "unreachable_parameters",
        *FAILS_TO_GENERALIZE,
    )

    warning: float
    failure: float

    def __post_init__(self) -> None:
        number("warning", self.warning, above=0, below=1)
        number("failure", self.failure, at_least=self.warning, at_most=1)

    def __call__(self, signals: Signals) -> Finding | None:
        layers = [layer for layer in initial_layers(signals) if layer.get("saturated") is not None]
        layers = [layer for layer in layers if layer["kind"] != "softmax"]
        if not layers:
            return None
        worst = max(layers, key=lambda layer: to_float(layer["saturated"]))
        share = to_float(worst["saturated"])
        if not share > self.warning:
            return None
        return self.finding(
            "failure" if share > self.failure else "warning",
            measured={"saturated": share, "layers": float(len(layers))},
            expected=f"at most {self.warning:.0%} of the values near a bound of the {worst['kind']}",
            message=f"{share:.0%} of the outputs of {worst['name']} ({worst['kind']}) are at a bound before training.",
            remedy=self.remedies,
            where=worst["name"],
            step=0,
        )
