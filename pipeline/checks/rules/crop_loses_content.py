from __future__ import annotations

import math
from dataclasses import dataclass

from pipeline.checks.consequences import FAILS_TO_GENERALIZE, LEARNING_RATE
from pipeline.checks.finding import Finding
from pipeline.checks.rule import Rule
from pipeline.signals.schema import Signals
from pipeline.validation import number


@dataclass(frozen=True)
class CropLosesContent(Rule):
    """Anti-pattern: a centre crop of wide or tall images that cuts away what tells the classes apart.

    Fires when the classes of whole images can be told from one another and those of their crops cannot: the crops keep
    less than `min_kept` of the accuracy above that of the largest class, and of the images that only one of the two
    tells, more are told by the whole image than by chance, by `sigmas` standard errors (McNemar's test on the same
    images). It is a failure where less than `min_kept_failure` is kept.
    """

    check = "crop_loses_content"
    reads = ("data",)
    needs = ("data.crop",)
    severities = ("failure", "warning")
    why = "The network sees nothing but the crop. What decides and lies outside can only be guessed."
    source = "McNemar 1947, Note on the sampling error of the difference between correlated proportions"
    remedies = ("data.fit=pad",)
    advice = "Fit the whole image into the square: pad its shorter side, or squeeze it, where it is cropped now."
    code = "image = ImageOps.pad(image, (size, size))"
    explains = (
        "label_noise",
        "loss_disagrees",
        "input_ignored",
        *LEARNING_RATE,
        *FAILS_TO_GENERALIZE,
    )

    min_kept: float
    min_kept_failure: float
    sigmas: float

    def __post_init__(self) -> None:
        number("min_kept", self.min_kept, above=0, at_most=1)
        number("min_kept_failure", self.min_kept_failure, at_least=0, at_most=self.min_kept)
        number("sigmas", self.sigmas, above=0)

    def __call__(self, signals: Signals) -> Finding | None:
        crop = signals.get("data", {}).get("crop")
        if not crop:
            return None
        whole, kept, chance = crop["whole_accuracy"], crop["crop_accuracy"], crop["chance"]
        lost, gained = crop["whole_only"], crop["crop_only"]
        if whole <= chance or lost - gained <= self.sigmas * math.sqrt(lost + gained):
            return None
        share = max(0.0, (kept - chance) / (whole - chance))
        if share >= self.min_kept:
            return None
        return self.finding(
            "failure" if share < self.min_kept_failure else "warning",
            measured={
                "whole_accuracy": whole,
                "crop_accuracy": kept,
                "chance": chance,
                "kept": share,
                "examples": float(crop["examples"]),
            },
            expected=f"crops that keep at least {self.min_kept:.0%} of what whole images tell about the class",
            message=f"Cropping to a square cuts away {crop['cut']:.0%} of the images, and with it what tells the "
            f"classes apart: of {crop['examples']} training images, the others tell the class of {whole:.1%} as a "
            f"whole and of {kept:.1%} as crops; the largest class has {chance:.1%}.",
            remedy=("data.fit=pad",),
            where="train",
            step=0,
        )
