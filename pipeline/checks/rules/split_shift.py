from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from pipeline.checks.finding import Finding, Signals
from pipeline.validation import number


@dataclass(frozen=True)
class SplitShift:
    """Anti-pattern: evaluating on another kind of data: normalised for training but not for the test, or a sorted file.

    Rule: after preprocessing, mean and standard deviation of the validation and test images are those of the training
    images, and so are the shares of the classes. Differences count where they are large, and beyond what samples of
    that size differ by: `sigmas` standard errors for pixels, the expected distance for classes. A balanced split
    (largest class at most twice the smallest) beside unequal training classes is made so on purpose, and a matter of
    class_imbalance.
    """

    mean_warning: float
    spread_warning: float
    mean_failure: float
    spread_failure: float
    max_class_distance: float
    sigmas: float
    explains: ClassVar[tuple[str, ...]] = (
        "label_noise",
        "missing_class",
        "train_eval_mismatch",
        "overfitting",
        "undertrained",
        "underfitting",
    )

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

    def _pixels(self, split: str, train: Mapping[str, Any], other: Mapping[str, Any]) -> Finding | None:
        away = abs(other["mean"] - train["mean"])
        wider = other["std"] / train["std"]
        apart = away - self.sigmas * math.hypot(train["mean_error"], other["mean_error"])
        differ = abs(other["std"] - train["std"]) > self.sigmas * math.hypot(train["std_error"], other["std_error"])
        moved = away > self.mean_warning * train["std"] and apart > 0
        rescaled = differ and not 1 / self.spread_warning <= wider <= self.spread_warning
        if not moved and not rescaled:
            return None
        far = moved and away > self.mean_failure * train["std"]
        grotesque = rescaled and not 1 / self.spread_failure <= wider <= self.spread_failure
        return Finding(
            check="split_shift",
            severity="failure" if far or grotesque else "warning",
            measured={"mean_shift": away / train["std"], "std_ratio": wider},
            expected=f"a mean within {self.mean_warning:g} training standard deviations, and a spread within a factor of "
            f"{self.spread_warning:g}",
            message=f"After the same preprocessing the {split} images have mean {other['mean']:.3g} and standard "
            f"deviation {other['std']:.3g}, those of training {train['mean']:.3g} and {train['std']:.3g}.",
            why="A network that never saw such inputs is not measured by them. Usually one file was normalised and the "
            "other not, or inverted, or the splits come from different sources.",
            remedy=(),
            source="Quionero-Candela et al. 2009, Dataset Shift in Machine Learning (covariate shift)",
            where=split,
            step=0,
        )

    def _classes(self, split: str, train: Sequence[int], other: Sequence[int]) -> Finding | None:
        n, m = sum(train), sum(other)
        pooled = [(a + b) / (n + m) for a, b in zip(train, other, strict=True)]
        distance = sum(abs(a / n - b / m) for a, b in zip(train, other, strict=True)) / 2
        # E|x| = sqrt(2/pi) sigma for the difference of two binomial shares, half of it summed over classes
        by_chance = sum(math.sqrt(p * (1 - p) * (1 / n + 1 / m) * 2 / math.pi) for p in pooled) / 2
        balanced = max(other) <= 2 * min(other)
        if balanced or distance - by_chance <= self.max_class_distance:
            return None
        return Finding(
            check="split_shift",
            severity="warning",
            measured={"class_distance": distance, "by_chance": by_chance},
            expected=f"class shares whose total variation distance is at most {self.max_class_distance:g} above that of chance",
            message=f"The {split} split has other classes than training: {distance:.0%} of its examples would need "
            f"another label to give the same shares, where {by_chance:.0%} are expected by chance.",
            why="A file that is sorted by class was cut without shuffling, or the splits come from different sources; "
            "the score then says little about what was trained.",
            remedy=(),
            source="Quionero-Candela et al. 2009, Dataset Shift in Machine Learning (prior probability shift)",
            where=split,
            step=0,
        )
