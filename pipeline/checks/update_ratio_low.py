from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import ClassVar

from pipeline.checks.curve import Training, power_of_ten, scaled_rate
from pipeline.checks.finding import Finding, Signals
from pipeline.fields import real, whole


@dataclass(frozen=True)
class UpdateRatioLow:
    """Anti-pattern: updates so small that the weights stay what the initialization made them.

    Rule: over the sampled steps the median of update norm / weight norm is above `ratio` in the middle layer. A hint
    where the network has learned all the same, since a schedule may spend most of its time at small rates.
    """

    ratio: float
    samples: int
    explains: ClassVar[tuple[str, ...]] = ("undertrained", "underfitting")

    def __post_init__(self) -> None:
        real("ratio", self.ratio, above=0)
        whole("samples", self.samples, at_least=1)

    def __call__(self, signals: Signals) -> Finding | None:
        training = Training.ended(signals)
        ratios = {} if training is None else training.typical_ratios(at_least=self.samples)
        if training is None or not ratios:
            return None
        middle, least = median(ratios.values()), min(ratios, key=lambda name: ratios[name])
        if middle >= self.ratio:
            return None
        accuracy = training.last("probe_accuracy")
        fine = accuracy is not None and training.learned(accuracy) >= 0.8
        return Finding(
            check="update_ratio_low",
            severity="info" if fine else "warning",
            measured={"middle_layer": middle, "lowest": ratios[least]},
            expected=f"a median above {self.ratio:g} in the middle layer; near 0.001 is the rule of thumb",
            message=f"A typical update is {middle:.2g} of the middle layer's weights, {ratios[least]:.2g} in {least}.",
            why="At this pace the weights hardly change within the run: the rate is too low, or gradients vanish on "
            "their way.",
            remedy=scaled_rate(signals, power_of_ten(1e-3, middle)),
            source="lecture notes: the ratio of updates to values should be around 0.001",
            where=least,
        )
