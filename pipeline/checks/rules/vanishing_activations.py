from __future__ import annotations

from dataclasses import dataclass

from pipeline.checks.consequences import FAILS_TO_GENERALIZE
from pipeline.checks.finding import Finding, Severity
from pipeline.checks.layer_stats import ACTIVATION_KEYS, ROUNDING, Layer, activation_layers, fraction_at_chance
from pipeline.checks.rule import Rule
from pipeline.checks.training_curves import TRAINING_KEYS, to_float
from pipeline.signals.schema import Signals
from pipeline.validation import number


@dataclass(frozen=True)
class VanishingActivations(Rule):
    """Anti-pattern: weights so small (0.01 randn, or Xavier under ReLU in a deep net, or a stack of sigmoids or of
    softmaxes) that what depends on the image fades from layer to layer. "Later activations become zero, gradients too
    small to update."

    Fires when the standard deviation over examples of the last hidden activation is below `failure` (a failure) or
    `warning` times that of the input, or of the first activation where the input's is larger than 1. Between the two it
    is `info`, a warning if training then stays at chance for `max_fraction_at_chance` of the run, and a failure if it
    does for nine tenths.
    """

    check = "vanishing_activations"
    reads = (*ACTIVATION_KEYS, "input_std", "chance_loss", *TRAINING_KEYS)
    needs = ("activations.name|samples.activations", "input_std")
    severities = ("failure", "warning", "info")
    why = (
        "Layers that see almost the same for every image learn almost nothing from it, and pass gradients that are as "
        "small to the layers before them."
    )
    source = "lecture notes, small random numbers; He et al. 2015, Delving Deep into Rectifiers, section 2.2"
    remedies = ("activation=relu", "init=he", "batchnorm=before_activation")
    advice = (
        "Keep the spread of the signal from layer to layer: weights of variance 2 / inputs, or a normalization "
        "before each activation."
    )
    code = "nn.init.kaiming_normal_(layer.weight)"
    explains = (
        "vanishing_gradients",
        "exploding_gradients",
        "initial_loss",
        "input_ignored",
        "unreachable_parameters",
        "frozen_weights",
        *FAILS_TO_GENERALIZE,
    )

    failure: float
    warning: float
    max_fraction_at_chance: float

    def __post_init__(self) -> None:
        number("failure", self.failure, above=0, below=1)
        number("warning", self.warning, at_least=self.failure, below=1)
        number("max_fraction_at_chance", self.max_fraction_at_chance, above=0, at_most=1)

    def __call__(self, signals: Signals) -> Finding | None:
        layers, input_std = activation_layers(signals), to_float(signals.get("input_std"))
        if len(layers) < 2 or not input_std > 0 or not to_float(layers[0]["unit_std"]) > ROUNDING:
            return None  # with nothing in the first layer already, the input is cut off, and nothing faded
        last, last_std = layers[-1], to_float(layers[-1]["unit_std"])
        # a first layer that normalizes inputs in their own units (raw pixels) takes nothing away
        reference = min(input_std, max(1.0, to_float(layers[0]["unit_std"])))
        ratio = last_std / reference
        if not ratio < self.warning:
            return None
        at_chance = fraction_at_chance(signals)
        stays_at_chance = at_chance >= self.max_fraction_at_chance
        severity: Severity = "warning" if stays_at_chance else "info"
        if ratio < self.failure or at_chance >= 0.9:
            severity = "failure"
        course = ", ".join(f"{to_float(layer['unit_std']):.2g}" for layer in _first_and_last(layers))
        harm = f" {at_chance:.0%} of the training passed before the loss left chance." if stays_at_chance else ""
        return self.finding(
            severity,
            measured={"input_std": input_std, "last_std": last_std, "left": ratio},
            expected=f"a standard deviation over examples of at least {self.warning:g} x {reference:.2g}",
            message=f"What depends on the image fades from {input_std:.2g} to {last_std:.2g} over {len(layers)} layers "
            f"({course}).{harm}",
            remedy=self.remedies if last["kind"] in ("sigmoid", "softmax") else self.remedies[1:],
            where=last["name"],
            step=0,
        )


def _first_and_last(layers: list[Layer]) -> list[Layer]:
    return layers if len(layers) <= 6 else [*layers[:3], *layers[-3:]]
