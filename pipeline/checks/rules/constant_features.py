from __future__ import annotations

from dataclasses import dataclass

from pipeline.checks.consequences import FAILS_TO_GENERALIZE, LEARNING_RATE
from pipeline.checks.finding import Finding
from pipeline.checks.rule import Rule
from pipeline.signals.schema import Signals
from pipeline.validation import integer, number


@dataclass(frozen=True)
class ConstantFeatures(Rule):
    """Anti-pattern: images that are mostly padding, were cropped to nothing, or were overwritten when saved.

    Fires when more than `warning` of the input values are the same in every training image; from `failure` on it is a
    failure. A constant border is healthy: it has 9 % of the values in MNIST and 5 % in the digits. With fewer than
    `min_examples` training images the rule stays silent, since a few images may have much in common by chance.
    """

    check = "constant_features"
    reads = ("data",)
    severities = ("failure", "warning")
    why = (
        "A value that never changes carries no information. Images that were padded, masked, cropped or saved wrongly "
        "look like this; from what is left a network can only learn the classes' frequencies."
    )
    source = "Karpathy, A Recipe for Training Neural Networks (become one with the data)"
    advice = "Look at the images as the network gets them, and repair how they are loaded or saved."
    code = "plt.imshow(images[0].permute(1, 2, 0))"
    explains = (
        "inputs_not_scaled",
        "inputs_not_centred",
        "split_shift",
        "duplicate_examples",
        "label_noise",
        "loss_disagrees",
        "dead_units",
        "vanishing_activations",
        "input_ignored",
        "unreachable_parameters",
        *LEARNING_RATE,
        *FAILS_TO_GENERALIZE,
    )

    warning: float
    failure: float
    min_examples: int

    def __post_init__(self) -> None:
        number("warning", self.warning, above=0, below=1)
        number("failure", self.failure, at_least=self.warning, at_most=1)
        integer("min_examples", self.min_examples, at_least=2)

    def __call__(self, signals: Signals) -> Finding | None:
        data = signals.get("data")
        if data is None or data["constant_features"] <= self.warning:
            return None
        if sum(data["class_counts"]["train"]) < self.min_examples:
            return None
        share, features = data["constant_features"], data["features"]
        return self.finding(
            "failure" if share >= self.failure else "warning",
            measured={"constant_features": float(share), "features": float(features)},
            expected=f"at most {self.warning:.0%} of the input values the same in every training image",
            message=f"{share:.1%} of the input values are the same in every training image: "
            f"{round(features * (1 - share))} of {features} can tell examples apart.",
            step=0,
        )
