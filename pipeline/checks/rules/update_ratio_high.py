from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import ClassVar

from pipeline.checks.finding import Finding, Signals
from pipeline.checks.training_curves import Training, lr_remedy
from pipeline.validation import integer, number


@dataclass(frozen=True)
class UpdateRatioHigh:
    """Anti-pattern: updates that rewrite a good part of the weights in each step.

    Rule: over the sampled steps the median of update norm / weight norm is below `max_ratio` in the middle layer, and below
    three times that in every layer (a hint where the network has learned all the same); and the first update of the
    middle layer is smaller than `max_first_ratio` of its weights, so that it does not undo the initialization.
    """

    max_ratio: float
    max_first_ratio: float
    min_samples: int
    explains: ClassVar[tuple[str, ...]] = ("underfitting",)

    def __post_init__(self) -> None:
        number("max_ratio", self.max_ratio, above=0)
        number("max_first_ratio", self.max_first_ratio, above=0)
        integer("min_samples", self.min_samples, at_least=1)

    def __call__(self, signals: Signals) -> Finding | None:
        training = Training.if_finished(signals)
        ratios = {} if training is None else training.typical_ratios(at_least=self.min_samples)
        if training is None or not ratios:
            return None
        middle, worst = median(ratios.values()), max(ratios, key=lambda name: ratios[name])
        begin = median(values[0] for values in training.ratios().values())
        if middle <= self.max_ratio and ratios[worst] <= 3 * self.max_ratio and begin <= self.max_first_ratio:
            return None
        accuracy = training.last("probe_accuracy")
        fine = begin <= self.max_first_ratio and accuracy is not None and training.normalized_accuracy(accuracy) >= 0.8
        return Finding(
            check="update_ratio_high",
            severity="info" if fine else "warning",
            measured={"middle_layer": middle, "highest": ratios[worst], "first_update": begin},
            expected=f"a median below {self.max_ratio:g} in the middle layer; near 0.001 is the rule of thumb",
            message=f"A typical update is {middle:.2g} of the middle layer's weights, {ratios[worst]:.2g} in {worst}; "
            f"the first one was {begin:.2g} of the weights.",
            why="Weights that are rewritten within a few steps keep nothing of what earlier batches taught them, and "
            "nothing of their initialization.",
            remedy=lr_remedy(signals, 0.1 if begin <= self.max_first_ratio else 0.01),
            source="lecture notes: the ratio of updates to values should be around 0.001, 0.01 is about okay",
            where=worst,
        )
