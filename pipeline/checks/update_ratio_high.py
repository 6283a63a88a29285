from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import ClassVar

from pipeline.checks.curve import Training, scaled_rate
from pipeline.checks.finding import Finding, Signals
from pipeline.fields import real, whole


@dataclass(frozen=True)
class UpdateRatioHigh:
    """Anti-pattern: updates that rewrite a good part of the weights in each step.

    Rule: over the sampled steps the median of update norm / weight norm is below `ratio` in the middle layer, and below
    three times that in every layer (a hint where the network has learned all the same); and the first update of the
    middle layer is smaller than `first` of its weights, so that it does not undo the initialization.
    """

    ratio: float
    first: float
    samples: int
    explains: ClassVar[tuple[str, ...]] = ("underfitting",)

    def __post_init__(self) -> None:
        real("ratio", self.ratio, above=0)
        real("first", self.first, above=0)
        whole("samples", self.samples, at_least=1)

    def __call__(self, signals: Signals) -> Finding | None:
        training = Training.ended(signals)
        ratios = {} if training is None else training.typical_ratios(at_least=self.samples)
        if training is None or not ratios:
            return None
        middle, worst = median(ratios.values()), max(ratios, key=lambda name: ratios[name])
        begin = median(values[0] for values in training.ratios().values())
        if middle <= self.ratio and ratios[worst] <= 3 * self.ratio and begin <= self.first:
            return None
        accuracy = training.last("probe_accuracy")
        fine = begin <= self.first and accuracy is not None and training.learned(accuracy) >= 0.8
        return Finding(
            check="update_ratio_high",
            severity="info" if fine else "warning",
            measured={"middle_layer": middle, "highest": ratios[worst], "first_update": begin},
            expected=f"a median below {self.ratio:g} in the middle layer; near 0.001 is the rule of thumb",
            message=f"A typical update is {middle:.2g} of the middle layer's weights, {ratios[worst]:.2g} in {worst}; "
            f"the first one was {begin:.2g} of the weights.",
            why="Weights that are rewritten within a few steps keep nothing of what earlier batches taught them, and "
            "nothing of their initialization.",
            remedy=scaled_rate(signals, 0.1 if begin <= self.first else 0.01),
            source="lecture notes: the ratio of updates to values should be around 0.001, 0.01 is about okay",
            where=worst,
        )
