from __future__ import annotations

from dataclasses import dataclass

from pipeline.checks.consequences import FAILS_TO_GENERALIZE
from pipeline.checks.finding import Finding
from pipeline.checks.layer_stats import ROUNDING, Layer, initial_layers
from pipeline.checks.rule import Rule
from pipeline.checks.training_curves import to_float
from pipeline.signals.schema import Signals, Units
from pipeline.validation import integer, number

FADED = 0.01
"""Spread of a layer over examples / spread of the input, below which the signal is gone (vanishing_activations)."""


@dataclass(frozen=True)
class DeadUnits(Rule):
    """Anti-pattern: ReLU units that are 0 for every example. They get no gradient and never become active again.

    Fires when more than `warning` of the units of a layer with at least `min_units` are 0 for every example: before
    training for those of the sanity stage, at its end for those of the probe. A smaller layer counts only where all its
    units are dead. From `failure` on it is a failure. A unit that is 0 for 70 % of the examples is an ordinary ReLU.
    """

    check = "dead_units"
    reads = ("units", "activations", "input_std", "lr")
    needs = ("units.dead|activations.name",)
    severities = ("failure", "warning")
    why = (
        "A unit that is never active gets no gradient and never changes again. Too high a learning rate, a bad "
        "initialization or inputs that are all positive cause it."
    )
    source = "lecture notes, dead ReLU: a bad initialization, or too big a learning rate"
    remedies = ("init=he", "activation=leaky_relu", "optimizer.lr=...")
    advice = "Use an activation that has a slope for negative inputs too."
    code = "activation = nn.LeakyReLU(0.01)"
    explains = (
        "vanishing_activations",
        "vanishing_gradients",
        "input_ignored",
        "unreachable_parameters",
        "frozen_weights",
        *FAILS_TO_GENERALIZE,
    )

    warning: float
    failure: float
    min_units: int

    def __post_init__(self) -> None:
        number("warning", self.warning, above=0, below=1)
        number("failure", self.failure, at_least=self.warning, at_most=1)
        integer("min_units", self.min_units, at_least=1)

    def __call__(self, signals: Signals) -> Finding | None:
        in_training = "units" in signals
        layers = _after_last_epoch(signals["units"]) if in_training else _layers_with_signal(signals)
        layers = [layer for layer in layers if layer["dead"] is not None]
        layers = [
            layer for layer in layers if layer["units"] >= self.min_units or (layer["dead"] == 1 and layer["units"] > 1)
        ]
        if not layers:
            return None
        worst = max(layers, key=lambda layer: to_float(layer["dead"]))
        share = to_float(worst["dead"])
        if not share > self.warning:
            return None
        lr = to_float(signals.get("lr"))
        cause = f"optimizer.lr={lr / 10:.3g}" if in_training and lr > 0 else "init=he"
        return self.finding(
            "failure" if share >= self.failure else "warning",
            measured={"dead": share, "units": float(worst["units"])},
            expected=f"at most {self.warning:.0%} of a layer's units that are never active",
            message=f"{share:.0%} of the {worst['units']} units of {worst['name']} are 0 for every example "
            f"{'at the end of' if in_training else 'before'} training.",
            remedy=(cause, "activation=leaky_relu"),
            where=worst["name"],
            step=None if in_training else 0,
        )


def _layers_with_signal(signals: Signals) -> list[Layer]:
    """Return the layers that the image reaches.

    Behind a layer whose units hardly vary half of the units are always off, and that is no fault of theirs. A layer
    all of whose units are off is such a layer, and the last one to be judged.
    """
    layers = initial_layers(signals)
    for i, layer in enumerate(layers):
        if not to_float(layer.get("unit_std", 1.0)) > max(ROUNDING, FADED * to_float(signals.get("input_std", 0.0))):
            return layers[: i + 1] if layer["dead"] == 1 else layers[:i]
    return layers


def _after_last_epoch(units: Units) -> list[Layer]:
    if not units["dead"]:
        return []
    rows = zip(units["name"], units["units"], units["dead"][-1], strict=True)
    return [{"name": name, "units": count, "dead": dead} for name, count, dead in rows]
