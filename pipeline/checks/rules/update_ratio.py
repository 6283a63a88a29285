"""Update norm / weight norm: two rules, for updates that are too large and for updates that are too small."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median

from pipeline.checks.finding import Finding
from pipeline.checks.not_checked import FINISHED_NEEDS
from pipeline.checks.rule import Rule
from pipeline.checks.training_curves import FINISHED_KEYS, Training, lr_remedy, nearest_power_of_ten
from pipeline.signals.schema import Signals
from pipeline.validation import integer, number

READS = (*FINISHED_KEYS, "samples", "lr")
LEARNED = 0.8
"""Normalized training accuracy from which the size of the updates did no visible harm."""
RULE_OF_THUMB = "near 0.001 is the rule of thumb"


@dataclass(frozen=True)
class UpdateRatioHigh(Rule):
    """Anti-pattern: updates that rewrite a good part of the weights in each step.

    Fires when, for layers with at least `min_samples` sampled steps, (1) the median over the steps of update norm /
    weight norm is above `max_ratio` in the middle layer, or above three times that in any layer, or (2) the first
    update of the middle layer is larger than `max_first_ratio` of its weights, so that it undoes the initialization.
    (1) is `info` where the network has learned all the same.
    """

    check = "update_ratio_high"
    reads = READS
    needs = (*FINISHED_NEEDS, "samples.weights")
    severities = ("warning", "info")
    why = (
        "Weights that are rewritten within a few steps keep nothing of what earlier batches taught them, and nothing "
        "of their initialization."
    )
    source = "lecture notes: the ratio of updates to values should be around 0.001, 0.01 is about okay"
    remedies = ("optimizer.lr=...",)
    advice = "Lower the learning rate to a tenth."
    code = 'for group in optimizer.param_groups: group["lr"] /= 10'
    explains = ("underfitting",)

    max_ratio: float
    max_first_ratio: float
    min_samples: int

    def __post_init__(self) -> None:
        number("max_ratio", self.max_ratio, above=0)
        number("max_first_ratio", self.max_first_ratio, above=0)
        integer("min_samples", self.min_samples, at_least=1)

    def __call__(self, signals: Signals) -> Finding | None:
        training, ratios = _median_ratios(signals, self.min_samples)
        if training is None or not ratios:
            return None
        middle, worst = median(ratios.values()), max(ratios, key=lambda name: ratios[name])
        first = median(values[0] for values in training.update_ratios().values())
        if middle <= self.max_ratio and ratios[worst] <= 3 * self.max_ratio and first <= self.max_first_ratio:
            return None
        is_harmless = first <= self.max_first_ratio and _has_learned(training)
        return self.finding(
            "info" if is_harmless else "warning",
            measured={"middle_layer": middle, "highest": ratios[worst], "first_update": first},
            expected=f"a median below {self.max_ratio:g} in the middle layer; {RULE_OF_THUMB}",
            message=f"A typical update is {middle:.2g} of the middle layer's weights, {ratios[worst]:.2g} in {worst}; "
            f"the first one was {first:.2g} of the weights.",
            remedy=lr_remedy(signals, 0.1 if first <= self.max_first_ratio else 0.01),
            where=worst,
        )


@dataclass(frozen=True)
class UpdateRatioLow(Rule):
    """Anti-pattern: updates so small that the weights stay what the initialization made them.

    Fires when, for layers with at least `min_samples` sampled steps, the median over the steps of update norm / weight
    norm is below `min_ratio` in the middle layer. It is `info` where the network has learned all the same, since a
    schedule may spend most of its time at low rates.
    """

    check = "update_ratio_low"
    reads = READS
    needs = (*FINISHED_NEEDS, "samples.weights")
    severities = ("warning", "info")
    why = (
        "At this pace the weights hardly change within the run: the learning rate is too low, or gradients vanish on "
        "their way."
    )
    source = "lecture notes: the ratio of updates to values should be around 0.001"
    remedies = ("optimizer.lr=...",)
    advice = "Raise the learning rate tenfold."
    code = 'for group in optimizer.param_groups: group["lr"] *= 10'
    explains = ("undertrained", "underfitting")

    min_ratio: float
    min_samples: int

    def __post_init__(self) -> None:
        number("min_ratio", self.min_ratio, above=0)
        integer("min_samples", self.min_samples, at_least=1)

    def __call__(self, signals: Signals) -> Finding | None:
        training, ratios = _median_ratios(signals, self.min_samples)
        if training is None or not ratios:
            return None
        middle, lowest = median(ratios.values()), min(ratios, key=lambda name: ratios[name])
        if middle >= self.min_ratio:
            return None
        return self.finding(
            "info" if _has_learned(training) else "warning",
            measured={"middle_layer": middle, "lowest": ratios[lowest]},
            expected=f"a median above {self.min_ratio:g} in the middle layer; {RULE_OF_THUMB}",
            message=f"A typical update is {middle:.2g} of the middle layer's weights, {ratios[lowest]:.2g} in "
            f"{lowest}.",
            remedy=lr_remedy(signals, nearest_power_of_ten(1e-3, middle)),
            where=lowest,
        )


def _median_ratios(signals: Signals, min_samples: int) -> tuple[Training | None, dict[str, float]]:
    """Return the finished training, if it is one, and the median ratio of each layer with enough sampled steps."""
    training = Training.if_finished(signals)
    return training, {} if training is None else training.median_update_ratios(min_samples=min_samples)


def _has_learned(training: Training) -> bool:
    accuracy = training.last("probe_accuracy")
    return accuracy is not None and training.normalized_accuracy(accuracy) >= LEARNED
