from __future__ import annotations

from dataclasses import dataclass

from pipeline.checks.consequences import FAILS_TO_GENERALIZE
from pipeline.checks.finding import Finding
from pipeline.checks.rule import Rule
from pipeline.signals.schema import Signals
from pipeline.validation import integer, number


@dataclass(frozen=True)
class BlankImages(Rule):
    """Anti-pattern: images of a single colour, which a camera, a crop or a conversion has lost.

    Fires when at least `min_images` images and more than `warning` of a split have one value in each channel; from
    `failure` on it is a failure.
    """

    check = "blank_images"
    reads = ("data",)
    needs = ("data.blank",)
    severities = ("failure", "warning")
    why = (
        "Nothing in a blank image belongs to its label: in training it is noise, and in the evaluation a mistake that "
        "no network can avoid."
    )
    source = "Karpathy, A Recipe for Training Neural Networks (become one with the data)"
    advice = "Look at these files (make data shows them), and repair or remove them."
    code = "blank = images.flatten(2).std(2).eq(0).all(1)"
    explains = ("near_duplicates", "duplicate_examples", "label_noise", *FAILS_TO_GENERALIZE)

    warning: float
    failure: float
    min_images: int

    def __post_init__(self) -> None:
        number("warning", self.warning, above=0, below=1)
        number("failure", self.failure, at_least=self.warning, at_most=1)
        integer("min_images", self.min_images, at_least=1)

    def __call__(self, signals: Signals) -> Finding | None:
        data = signals.get("data")
        if data is None or "blank" not in data:  # a run from before it was measured
            return None
        counts, sizes = data["blank"], {split: sum(classes) for split, classes in data["class_counts"].items()}
        shares = {split: count / sizes[split] for split, count in counts.items() if count >= self.min_images}
        if not shares or max(shares.values()) <= self.warning:
            return None
        worst = max(shares, key=lambda split: shares[split])
        return self.finding(
            "failure" if shares[worst] >= self.failure else "warning",
            measured={"blank": float(counts[worst]), "share": shares[worst]},
            expected=f"at most {self.warning:.0%} of the images of a split without content",
            message=f"{counts[worst]} of {sizes[worst]} images of the {worst} split have a single colour.",
            step=0,
        )
