from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pipeline.checks.consequences import FAILS_TO_GENERALIZE
from pipeline.checks.finding import Finding, Signals
from pipeline.validation import number


@dataclass(frozen=True)
class InputIgnored:
    """Anti-pattern: a network that learns the class frequencies and nothing from the images.

    Rule: after the same short fit, real inputs reach a lower loss than inputs set to zero.
    """

    min_margin: float
    explains: ClassVar[tuple[str, ...]] = ("unreachable_parameters", *FAILS_TO_GENERALIZE)

    def __post_init__(self) -> None:
        number("min_margin", self.min_margin, at_least=0, below=1)

    def __call__(self, signals: Signals) -> Finding | None:
        fitted, zeroed = signals.get("fit_loss"), signals.get("fit_loss_zeroed")
        if fitted is None or zeroed is None or fitted < zeroed * (1 - self.min_margin):
            return None
        return Finding(
            check="input_ignored",
            severity="failure",
            measured={"fit_loss": fitted, "fit_loss_zeroed": zeroed},
            expected="a lower loss on real inputs than on inputs set to zero",
            message=f"After {signals['fit_steps']} steps the loss is {fitted:.4g} on real inputs and {zeroed:.4g} "
            "on zeros: what the network knows does not come from the images.",
            why="Signals fade or saturate on their way through the layers, or the input is cut off somewhere.",
            remedy=("init=he", "activation=relu", "batchnorm=before_activation"),
            source="Karpathy, A Recipe for Training Neural Networks (input-independent baseline)",
            step=signals["fit_steps"],
        )
