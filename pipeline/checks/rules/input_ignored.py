from __future__ import annotations

import math
from dataclasses import dataclass

from pipeline.checks.consequences import FAILS_TO_GENERALIZE
from pipeline.checks.finding import Finding
from pipeline.checks.rule import Rule
from pipeline.checks.training_curves import to_float
from pipeline.signals.schema import Signals
from pipeline.validation import number


@dataclass(frozen=True)
class InputIgnored(Rule):
    """Anti-pattern: a network that learns the class frequencies and nothing from the images.

    Fires when, after the same short fit, the loss on real inputs is not at least `min_margin` (relative) below the
    loss on inputs set to zero.
    """

    check = "input_ignored"
    reads = ("fit_loss", "fit_loss_zeroed", "fit_steps")
    severities = ("failure",)
    why = "The signal fades or saturates on its way through the layers, or the input is cut off somewhere."
    source = "Karpathy, A Recipe for Training Neural Networks (input-independent baseline)"
    remedies = ("init=he", "activation=relu", "batchnorm=before_activation")
    advice = "Follow images through the layers, and find the one behind which they no longer differ."
    code = "for layer in model.children(): x = layer(x); print(layer, x.std(dim=0).mean())"
    explains = ("unreachable_parameters", *FAILS_TO_GENERALIZE)

    min_margin: float

    def __post_init__(self) -> None:
        number("min_margin", self.min_margin, at_least=0, below=1)

    def __call__(self, signals: Signals) -> Finding | None:
        if signals.get("fit_loss") is None:
            return None
        real, zeroed = to_float(signals["fit_loss"]), to_float(signals.get("fit_loss_zeroed"))
        if not math.isfinite(zeroed) or real < zeroed * (1 - self.min_margin):
            return None  # a network that breaks on zeros tells nothing about what it does with images
        return self.finding(
            "failure",
            measured={"fit_loss": real, "fit_loss_zeroed": zeroed},
            expected="a lower loss on real inputs than on inputs set to zero",
            message=f"After {signals['fit_steps']} steps the loss is {real:.4g} on real inputs and {zeroed:.4g} on "
            "zeros: what the network knows does not come from the inputs.",
            remedy=self.remedies,
            step=signals["fit_steps"],
        )
