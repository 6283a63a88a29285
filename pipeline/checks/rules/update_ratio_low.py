from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import ClassVar

from pipeline.checks.finding import Finding, Signals
from pipeline.checks.training_curves import Training, lr_remedy, nearest_power_of_ten
from pipeline.validation import integer, number


@dataclass(frozen=True)
class UpdateRatioLow:
    """Anti-pattern: updates so small that the weights stay what the initialization made them.

    Rule: over the sampled steps the median of update norm / weight norm is above `min_ratio` in the middle layer. A hint
    where the network has learned all the same, since a schedule may spend most of its time at small rates.
    """

    min_ratio: float
    min_samples: int
    explains: ClassVar[tuple[str, ...]] = ("undertrained", "underfitting")

    def __post_init__(self) -> None:
        number("min_ratio", self.min_ratio, above=0)
        integer("min_samples", self.min_samples, at_least=1)

    def __call__(self, signals: Signals) -> Finding | None:
        training = Training.if_finished(signals)
        ratios = {} if training is None else training.typical_ratios(at_least=self.min_samples)
        if training is None or not ratios:
            return None
        middle, least = median(ratios.values()), min(ratios, key=lambda name: ratios[name])
        if middle >= self.min_ratio:
            return None
        accuracy = training.last("probe_accuracy")
        fine = accuracy is not None and training.normalized_accuracy(accuracy) >= 0.8
        return Finding(
            check="update_ratio_low",
            severity="info" if fine else "warning",
            measured={"middle_layer": middle, "lowest": ratios[least]},
            expected=f"a median above {self.min_ratio:g} in the middle layer; near 0.001 is the rule of thumb",
            message=f"A typical update is {middle:.2g} of the middle layer's weights, {ratios[least]:.2g} in {least}.",
            why="At this pace the weights hardly change within the run: the rate is too low, or gradients vanish on "
            "their way.",
            remedy=lr_remedy(signals, nearest_power_of_ten(1e-3, middle)),
            source="lecture notes: the ratio of updates to values should be around 0.001",
            where=least,
        )
