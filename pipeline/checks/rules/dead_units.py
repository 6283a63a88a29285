from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from pipeline.checks.consequences import FAILS_TO_GENERALIZE
from pipeline.checks.finding import Finding, Signals
from pipeline.checks.layer_stats import ROUNDING, activation_layers, to_float
from pipeline.validation import integer, number

FADED = 0.01
"""Spread of a layer over examples / spread of the input, below which the signal is gone (vanishing_activations')."""


@dataclass(frozen=True)
class DeadUnits:
    """Anti-pattern: ReLU units that are 0 for every example: they get no gradient and will never be active again.

    Rule: in no layer more than `warning` of the units is dead, that is never active over all the probe's examples (the
    sanity stage's examples before training), where it has `min_units` of them; a smaller layer may not die as a whole. A
    unit that is 0 for 70 % of the examples is an ordinary ReLU.
    """

    warning: float
    failure: float
    min_units: int
    explains: ClassVar[tuple[str, ...]] = (
        "vanishing_activations",
        "vanishing_gradients",
        "input_ignored",
        "unreachable_parameters",
        "frozen_weights",
        *FAILS_TO_GENERALIZE,
    )

    def __post_init__(self) -> None:
        number("warning", self.warning, above=0, below=1)
        number("failure", self.failure, at_least=self.warning, at_most=1)
        integer("min_units", self.min_units, at_least=1)

    def __call__(self, signals: Signals) -> Finding | None:
        training = "units" in signals
        layers = _last_epoch(signals["units"]) if training else _layers_with_signal(signals)
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
        rate = to_float(signals.get("lr"))
        remedy = ("init=he", "activation=leaky_relu")
        if training and rate > 0:
            remedy = (f"optimizer.lr={rate / 10:.3g}", "activation=leaky_relu")
        return Finding(
            check="dead_units",
            severity="failure" if share >= self.failure else "warning",
            measured={"dead": share, "units": float(worst["units"])},
            expected=f"at most {self.warning:.0%} of a layer's units that are never active",
            message=f"{share:.0%} of the {worst['units']} units of {worst['name']} are 0 for every example"
            + (" at the end of training." if training else " before training."),
            why="A unit that is never active gets no gradient: it will never change again. Too large a rate, a bad "
            "init or inputs that are all positive push it there.",
            remedy=remedy,
            source="lecture notes, dead ReLU: a bad initialization, or too big a learning rate",
            where=worst["name"],
            step=None if training else 0,
        )


def _layers_with_signal(signals: Signals) -> list[dict[str, Any]]:
    """The layers that the image reaches: behind one whose units hardly vary, half of them are always off, and that is
    no fault of theirs. All units of a layer off is one."""
    layers = activation_layers(signals)
    for i, layer in enumerate(layers):
        if not to_float(layer.get("unit_std", 1.0)) > max(ROUNDING, FADED * to_float(signals.get("input_std", 0.0))):
            return layers[: i + 1] if layer["dead"] == 1 else layers[:i]
    return layers


def _columns(columns: Any) -> list[dict[str, Any]]:
    keys = ("name", "units", "dead")
    return [dict(zip(keys, row, strict=True)) for row in zip(*(columns[key] for key in keys), strict=True)]


def _last_epoch(units: Any) -> list[dict[str, Any]]:
    return (
        _columns({"name": units["name"], "units": units["units"], "dead": units["dead"][-1]}) if units["dead"] else []
    )
