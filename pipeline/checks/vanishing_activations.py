from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pipeline.checks.consequences import HARM
from pipeline.checks.finding import Finding, Severity, Signals
from pipeline.checks.layers import ROUNDING, activation_layers, number, start_lost
from pipeline.fields import real


@dataclass(frozen=True)
class VanishingActivations:
    """Anti-pattern: weights so small (0.01 randn, or Xavier under ReLU in a deep net, or a stack of sigmoids or of
    softmaxes) that what depends on the image fades from layer to layer. "Later activations become zero, gradients too
    small to update."

    Rule: the spread over examples of the last hidden activation is at least `gone` times that of the input. Where it is
    below `faint` times, training must show no harm: its loss leaves chance within the first `late` of the run.
    """

    gone: float
    faint: float
    late: float
    explains: ClassVar[tuple[str, ...]] = (
        "vanishing_gradients",
        "exploding_gradients",
        "initial_loss",
        "input_ignored",
        "unreachable_parameters",
        "frozen_weights",
        *HARM,
    )

    def __post_init__(self) -> None:
        real("gone", self.gone, above=0, below=1)
        real("faint", self.faint, at_least=self.gone, below=1)
        real("late", self.late, above=0, at_most=1)

    def __call__(self, signals: Signals) -> Finding | None:
        layers, spread = activation_layers(signals), number(signals.get("input_std"))
        if len(layers) < 2 or not spread > 0 or not number(layers[0]["unit_std"]) > ROUNDING:
            return None  # with nothing in the first layer already, the input is cut off, and nothing faded
        last = layers[-1]
        left = number(last["unit_std"]) / spread
        late = start_lost(signals)
        if not left < self.faint:
            return None
        severity: Severity = (
            "failure" if left < self.gone or late >= 0.9 else "warning" if late >= self.late else "info"
        )
        squashing = last["kind"] in ("sigmoid", "softmax")
        course = ", ".join(f"{number(layer['unit_std']):.2g}" for layer in _some(layers))
        harm = f" {late:.0%} of the training passed before the loss left chance." if late >= self.late else ""
        return Finding(
            check="vanishing_activations",
            severity=severity,
            measured={"input_std": spread, "last_std": number(last["unit_std"]), "left": left},
            expected=f"a spread over examples of at least {self.faint:g} times the input's {spread:.2g}",
            message=f"What depends on the image fades from {spread:.2g} to {number(last['unit_std']):.2g} over "
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
