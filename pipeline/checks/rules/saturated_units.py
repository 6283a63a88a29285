from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pipeline.checks.consequences import FAILS_TO_GENERALIZE
from pipeline.checks.finding import Finding, Signals
from pipeline.checks.layer_stats import activation_layers, to_float
from pipeline.validation import number


@dataclass(frozen=True)
class SaturatedUnits:
    """Anti-pattern: sigmoid or tanh units driven to their bounds, where their slope is almost 0. "Saturated neurons
    kill the gradients."

    Rule: in no layer of bounded activations is more than `warning` of the values within 2 % of the range from a bound, at
    the start; for standard normal inputs tanh has 5 % of them there, sigmoid 0.01 %.
    """

    warning: float
    failure: float
    explains: ClassVar[tuple[str, ...]] = (
        "vanishing_activations",
        "exploding_activations",
        "vanishing_gradients",
        "exploding_gradients",
        "initial_loss",
        "input_ignored",
        "unreachable_parameters",
        *FAILS_TO_GENERALIZE,
    )

    def __post_init__(self) -> None:
        number("warning", self.warning, above=0, below=1)
        number("failure", self.failure, at_least=self.warning, at_most=1)

    def __call__(self, signals: Signals) -> Finding | None:
        if "samples" in signals:  # judged before training: a trained unit may well be sure of itself
            return None
        layers = [layer for layer in activation_layers(signals) if layer.get("saturated") is not None]
        layers = [layer for layer in layers if layer["kind"] != "softmax"]
        if not layers:
            return None
        worst = max(layers, key=lambda layer: to_float(layer["saturated"]))
        share = to_float(worst["saturated"])
        if not share > self.warning:
            return None
        return Finding(
            check="saturated_units",
            severity="failure" if share > self.failure else "warning",
            measured={"saturated": share, "layers": float(len(layers))},
            expected=f"at most {self.warning:.0%} of the values near a bound of the {worst['kind']}",
            message=f"{share:.0%} of the outputs of {worst['name']} ({worst['kind']}) are at a bound before training.",
            why="There the slope is almost zero, so no gradient passes and the weights before it hardly change.",
            remedy=("init=xavier", "batchnorm=before_activation"),
            source="lecture notes, sigmoid and large random numbers; Glorot & Bengio 2010, section 3",
            where=worst["name"],
            step=0,
        )
