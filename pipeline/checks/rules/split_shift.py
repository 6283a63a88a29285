from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.checks.finding import Finding
from pipeline.checks.rule import Rule
from pipeline.signals.schema import InputMoments, Signals
from pipeline.validation import number


@dataclass(frozen=True)
class SplitShift(Rule):
    """Anti-pattern: evaluating on another kind of data: normalized for training but not for the test, or a sorted file.

    Fires when, after preprocessing, the validation or test images differ from the training images (1) in their mean by
    more than `mean_warning` training standard deviations, (2) in their standard deviation by more than a factor of
    `spread_warning`, both beyond `sigmas` standard errors, or (3) in the shares of their classes, by a total variation
    distance of more than `max_class_distance` above that of chance. Beyond `mean_failure` or `spread_failure` it is a
    failure. A balanced split (largest class at most twice the smallest) beside unequal training classes is made so on
    purpose, and a matter of class_imbalance.
    """

    check = "split_shift"
    reads = ("data",)
    severities = ("failure", "warning")
    why = (
        "The score on other inputs or other classes says little about a network that never saw them. Usually one file "
        "was normalized or inverted and the other not, a file that is sorted by class was cut without shuffling, or "
        "the splits come from different sources."
    )
    source = "Quionero-Candela et al. 2009, Dataset Shift in Machine Learning (covariate and prior probability shift)"
    explains = (
        "label_noise",
        "missing_class",
        "train_eval_mismatch",
        "overfitting",
        "undertrained",
        "underfitting",
    )

    mean_warning: float
    spread_warning: float
    mean_failure: float
    spread_failure: float
    max_class_distance: float
    sigmas: float

    def __post_init__(self) -> None:
        number("mean_warning", self.mean_warning, above=0)
        number("spread_warning", self.spread_warning, above=1)
        number("mean_failure", self.mean_failure, at_least=self.mean_warning)
        number("spread_failure", self.spread_failure, at_least=self.spread_warning)
        number("max_class_distance", self.max_class_distance, above=0, at_most=1)
        number("sigmas", self.sigmas, above=0)

    def __call__(self, signals: Signals) -> Finding | None:
        data = signals.get("data")
        if data is None:
            return None
        train = data["inputs"]["train"]
        for split, other in data["inputs"].items():
            if split != "train" and train["std"] > 0 and (finding := self._pixels(split, train, other)):
                return finding
        counts = data["class_counts"]
        for split in counts:
            if split != "train" and (finding := self._classes(split, counts["train"], counts[split])):
                return finding
        return None

    def _pixels(self, split: str, train: InputMoments, other: InputMoments) -> Finding | None:
        shift = abs(other["mean"] - train["mean"])
        ratio = other["std"] / train["std"]
        is_beyond_error = shift - self.sigmas * math.hypot(train["mean_error"], other["mean_error"]) > 0
        std_error = math.hypot(train["std_error"], other["std_error"])
        is_shifted = shift > self.mean_warning * train["std"] and is_beyond_error
        is_rescaled = (
            abs(other["std"] - train["std"]) > self.sigmas * std_error
            and not 1 / self.spread_warning <= ratio <= self.spread_warning
        )
        if not is_shifted and not is_rescaled:
            return None
        is_far = is_shifted and shift > self.mean_failure * train["std"]
        is_other_unit = is_rescaled and not 1 / self.spread_failure <= ratio <= self.spread_failure
        return self.finding(
            "failure" if is_far or is_other_unit else "warning",
            measured={"mean_shift": shift / train["std"], "std_ratio": ratio},
            expected=f"a mean within {self.mean_warning:g} training standard deviations, and a standard deviation "
            f"within a factor of {self.spread_warning:g}",
            message=f"After the same preprocessing the {split} images have mean {other['mean']:.3g} and standard "
            f"deviation {other['std']:.3g}, those of training {train['mean']:.3g} and {train['std']:.3g}.",
            where=split,
            step=0,
        )

    def _classes(self, split: str, train: Sequence[int], other: Sequence[int]) -> Finding | None:
        n, m = sum(train), sum(other)
        pooled = [(a + b) / (n + m) for a, b in zip(train, other, strict=True)]
        distance = sum(abs(a / n - b / m) for a, b in zip(train, other, strict=True)) / 2
        # E|x| = sqrt(2/pi) sigma for the difference of two binomial shares, half of it summed over classes
        by_chance = sum(math.sqrt(p * (1 - p) * (1 / n + 1 / m) * 2 / math.pi) for p in pooled) / 2
        is_balanced = max(other) <= 2 * min(other)
        if is_balanced or distance - by_chance <= self.max_class_distance:
            return None
        return self.finding(
            "warning",
            measured={"class_distance": distance, "by_chance": by_chance},
            expected=f"class shares whose total variation distance is at most {self.max_class_distance:g} above that "
            "of chance",
            message=f"The {split} split has other classes than training: {distance:.0%} of its examples would need "
            f"another label to give the same shares, where {by_chance:.0%} are expected by chance.",
            where=split,
            step=0,
        )
