from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pipeline.checks.finding import Finding
from pipeline.checks.rule import Rule
from pipeline.signals.schema import InputMoments, Signals
from pipeline.validation import number

_CHANNEL_KEYS = ("channel_mean", "channel_std", "channel_mean_error", "channel_std_error")


class _Shift(NamedTuple):
    """Mean and standard deviation of some values in training and in another split, with standard errors."""

    mean: float
    std: float
    mean_error: float
    std_error: float
    other_mean: float
    other_std: float
    other_mean_error: float
    other_std_error: float

    @property
    def distance(self) -> float:
        return abs(self.other_mean - self.mean) / self.std

    @property
    def ratio(self) -> float:
        return self.other_std / self.std

    def with_expected_error(self, growth: float) -> _Shift:
        """Return this with at least the error that few examples of the training distribution would have.

        A sample of zeros from a column that is hardly ever 1 has a deviation of 0, and no error of its own.
        """
        return self._replace(other_std_error=max(self.other_std_error, self.std_error * growth))


@dataclass(frozen=True)
class SplitShift(Rule):
    """Anti-pattern: evaluating on another kind of data: normalized for training but not for the test, or a sorted file.

    Fires when, after preprocessing, the validation or test images differ from the training images (1) in their mean by
    more than `mean_warning` training standard deviations, (2) in their standard deviation by more than a factor of
    `spread_warning`, both beyond `sigmas` standard errors, as a whole or in one channel, or (3) in the shares of their
    classes, by a total variation distance of more than `max_class_distance` above that of chance. Beyond `mean_failure`
    or `spread_failure` it is a failure. A balanced split (largest class at most twice the smallest) beside unequal
    training classes is made so on purpose, and a matter of class_imbalance.
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
    advice = "Load and preprocess every split in the same way, and shuffle the examples before they are split."
    code = "train_data, val_data = torch.utils.data.random_split(data, [0.9, 0.1])"
    explains = (
        "label_noise",
        "missing_class",
        "train_eval_mismatch",
        "overfitting",
        "undertrained",
        "underfitting",
        "test_below_validation",
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
            if split != "train" and (finding := self._pixels(split, train, other)):
                return finding
        counts = data["class_counts"]
        for split in counts:
            if split != "train" and (finding := self._classes(split, counts["train"], counts[split])):
                return finding
        return None

    def _pixels(self, split: str, train: InputMoments, other: InputMoments) -> Finding | None:
        """Return a finding about all values, or else about the channel that is furthest off."""
        whole = _Shift(train["mean"], train["std"], train["mean_error"], train["std_error"],
                       other["mean"], other["std"], other["mean_error"], other["std_error"])  # fmt: skip
        channels = [
            _Shift(*moments)
            for moments in zip(*(part.get(key, ()) for part in (train, other) for key in _CHANNEL_KEYS), strict=True)
        ]
        growth = math.sqrt(train.get("examples", 1) / max(1, other.get("examples", 1)))
        whole, *channels = [shift.with_expected_error(growth) for shift in (whole, *channels)]
        if self._is_far(whole) or self._is_rescaled(whole):
            return self._shifted(split, whole, None)
        off = [shift for shift in channels if self._is_far(shift) or self._is_rescaled(shift)]
        if not off:
            return None
        worst = max(off, key=lambda shift: max(shift.distance, abs(math.log(max(shift.ratio, 1e-9)))))
        return self._shifted(split, worst, channels.index(worst))

    def _is_far(self, shift: _Shift) -> bool:
        error = math.hypot(shift.mean_error, shift.other_mean_error)
        difference = abs(shift.other_mean - shift.mean)
        return shift.std > 0 and difference > self.mean_warning * shift.std and difference > self.sigmas * error

    def _is_rescaled(self, shift: _Shift) -> bool:
        error = math.hypot(shift.std_error, shift.other_std_error)
        is_beyond_error = abs(shift.other_std - shift.std) > self.sigmas * error
        return shift.std > 0 and is_beyond_error and not 1 / self.spread_warning <= shift.ratio <= self.spread_warning

    def _shifted(self, split: str, shift: _Shift, channel: int | None) -> Finding:
        is_distant = self._is_far(shift) and shift.distance > self.mean_failure
        ratio_limit = self.spread_failure
        is_other_unit = self._is_rescaled(shift) and not 1 / ratio_limit <= shift.ratio <= ratio_limit
        place = "" if channel is None else f"in channel {channel} "
        return self.finding(
            "failure" if is_distant or is_other_unit else "warning",
            measured={"mean_shift": shift.distance, "std_ratio": shift.ratio}
            | ({} if channel is None else {"channel": float(channel)}),
            expected=f"a mean within {self.mean_warning:g} training standard deviations, and a standard deviation "
            f"within a factor of {self.spread_warning:g}",
            message=f"After the same preprocessing the {split} examples have {place}mean {shift.other_mean:.3g} and "
            f"standard deviation {shift.other_std:.3g}, those of training {shift.mean:.3g} and {shift.std:.3g}.",
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
