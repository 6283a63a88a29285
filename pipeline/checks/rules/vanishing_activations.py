from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pipeline.checks.consequences import FAILS_TO_GENERALIZE
from pipeline.checks.finding import Finding, Severity, Signals
from pipeline.checks.layer_stats import ROUNDING, activation_layers, fraction_at_chance, to_float
from pipeline.validation import number


@dataclass(frozen=True)
class VanishingActivations:
    """Anti-pattern: weights so small (0.01 randn, or Xavier under ReLU in a deep net, or a stack of sigmoids or of
    softmaxes) that what depends on the image fades from layer to layer. "Later activations become zero, gradients too
    small to update."

    Rule: the spread over examples of the last hidden activation is at least `failure` times that of the input. Where it is
    below `warning` times, training must show no harm: its loss leaves chance within the first `max_fraction_at_chance` of the run.
    """

    failure: float
    warning: float
    max_fraction_at_chance: float
    explains: ClassVar[tuple[str, ...]] = (
        "vanishing_gradients",
        "exploding_gradients",
        "initial_loss",
        "input_ignored",
        "unreachable_parameters",
        "frozen_weights",
        *FAILS_TO_GENERALIZE,
    )

    def __post_init__(self) -> None:
        number("failure", self.failure, above=0, below=1)
        number("warning", self.warning, at_least=self.failure, below=1)
        number("max_fraction_at_chance", self.max_fraction_at_chance, above=0, at_most=1)

    def __call__(self, signals: Signals) -> Finding | None:
        layers, spread = activation_layers(signals), to_float(signals.get("input_std"))
        if len(layers) < 2 or not spread > 0 or not to_float(layers[0]["unit_std"]) > ROUNDING:
            return None  # with nothing in the first layer already, the input is cut off, and nothing faded
        last = layers[-1]
        left = to_float(last["unit_std"]) / spread
        late = fraction_at_chance(signals)
        if not left < self.warning:
            return None
        severity: Severity = (
            "failure"
            if left < self.failure or late >= 0.9
            else "warning"
            if late >= self.max_fraction_at_chance
            else "info"
        )
        squashing = last["kind"] in ("sigmoid", "softmax")
        course = ", ".join(f"{to_float(layer['unit_std']):.2g}" for layer in _some(layers))
        harm = (
            f" {late:.0%} of the training passed before the loss left chance."
            if late >= self.max_fraction_at_chance
            else ""
        )
        return Finding(
            check="vanishing_activations",
            severity=severity,
            measured={"input_std": spread, "last_std": to_float(last["unit_std"]), "left": left},
            expected=f"a spread over examples of at least {self.warning:g} times the input's {spread:.2g}",
            message=f"What depends on the image fades from {spread:.2g} to {to_float(last['unit_std']):.2g} over "
            f"{len(layers)} layers ({course}).{harm}",
            why="Layers that see almost the same for every image learn almost nothing from it, and pass gradients that "
            "are as small to the layers before them.",
            remedy=("activation=relu", "init=he", "batchnorm=before_activation")
            if squashing
            else ("init=he", "batchnorm=before_activation"),
            source="lecture notes, small random numbers; He et al. 2015, Delving Deep into Rectifiers, section 2.2",
            where=last["name"],
            step=0,
        )


def _some(layers: list[dict[str, object]]) -> list[dict[str, object]]:
    return layers if len(layers) <= 6 else [*layers[:3], *layers[-3:]]
