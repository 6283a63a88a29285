from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pipeline.checks.consequences import FAILS_TO_GENERALIZE, LEARNING_RATE
from pipeline.checks.finding import Finding, Signals
from pipeline.validation import integer, number


@dataclass(frozen=True)
class ConstantFeatures:
    """Anti-pattern: images that are mostly padding, cropped to nothing, or overwritten on the way to the file.

    Rule: most input values differ between training images. MNIST's border is the same in all images, 9 % of the values,
    and 5 % of the digits' are: that is healthy. Fewer than `min_examples` images may have much in common by chance.
    """

    warning: float
    failure: float
    min_examples: int
    explains: ClassVar[tuple[str, ...]] = (
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
        share = data["constant_features"]
        features = data["features"]
        left = round(features * (1 - share))
        return Finding(
            check="constant_features",
            severity="failure" if share >= self.failure else "warning",
            measured={"constant_features": float(share), "features": float(features)},
            expected=f"at most {self.warning:.0%} of the input values the same in every training image",
            message=f"{share:.1%} of the input values are the same in every training image: {left} of {features} "
            "can tell images apart.",
            why="A value that never changes carries nothing. Images that were padded, masked, cropped or saved wrongly "
            "look like this; a network can only learn the classes' frequencies from what is left.",
            remedy=(),
            source="Karpathy, A Recipe for Training Neural Networks (become one with the data)",
            step=0,
        )
