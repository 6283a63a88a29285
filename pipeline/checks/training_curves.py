"""Arithmetic of training curves that several rules share.

A loss curve is noisy: it is read by medians of stretches, and accuracies are compared only in multiples of their
standard error. The progress of a run is the sum of its learning rates so far over their whole sum, not the number of
steps: after a schedule has let the rate fall to nothing, further steps change nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from statistics import median, stdev
from typing import Any, Literal

from pipeline.signals.schema import SampledWeights, Samples, Signals

MIN_PROBE = 64
"""Examples of the probe where the signals do not say: the fewest that the recorder uses."""
MOST_UNEVEN = 0.8
"""Share of the largest class, above which accuracy says little: that of `class_imbalance.max_share`."""
MIN_FALL = 0.25
"""Share of the first loss, and of the loss of a guess, that such a training must have lost to have learned."""
MIN_RISE = 2.25
"""Last / first loss of targets, from which the error has grown by half: a squared error grows by the square of 1.5."""

TRAINING_KEYS = ("epochs_planned", "classes", "losses", "accuracies", "chance_accuracy")
"""Signals that `Training.from_signals` reads."""
FINISHED_KEYS = (*TRAINING_KEYS, "epochs", "running", "exploded", "nonfinite")
"""Signals that `Training.if_finished` reads."""
BEATS_CHANCE_KEYS = ("probe_examples", "train_examples")
"""Further signals that `Training.beats_chance` reads."""
GAP_KEYS = ("probe_examples", "train_examples", "val_examples")
"""Further signals that `Training.gap` reads."""

EpochColumn = Literal["step", "lr", "loss", "accuracy", "val_loss", "val_accuracy", "probe_loss", "probe_accuracy"]


@dataclass(frozen=True)
class Training:
    """The signals of the stage `train` as numbers."""

    signals: Signals
    losses: tuple[float, ...]
    accuracies: tuple[float, ...]
    chance: float
    """Share of correct answers of the best answer that ignores the image; NaN where the classes are unknown."""

    @classmethod
    def from_signals(cls, signals: Signals, *, needs_classes: bool = True) -> Training | None:
        """Return the training; None for other stages, where no step was made, and where the classes are unknown.

        With `needs_classes` False the classes may be unknown, for rules that read the loss alone.
        """
        classes, losses = signals.get("classes"), to_floats(signals.get("losses", ()))
        if "epochs_planned" not in signals or not losses or (needs_classes and not classes):
            return None
        chance = signals.get("chance_accuracy") or (1 / classes if classes else math.nan)
        return cls(signals, losses, to_floats(signals.get("accuracies", ())), float(chance))

    @classmethod
    def if_finished(cls, signals: Signals, *, needs_classes: bool = True) -> Training | None:
        """Return a training that is over and made at least one whole epoch; None otherwise and after an early stop."""
        if signals.get("running") or signals.get("exploded") or signals.get("nonfinite"):
            return None  # first, since reading thousands of losses after each epoch takes its time
        training = cls.from_signals(signals, needs_classes=needs_classes)
        return None if training is None or not training.column("loss") else training

    @property
    def steps(self) -> int:
        return len(self.losses) * self.steps_per_entry

    @property
    def steps_per_entry(self) -> int:
        """Steps that one entry of `losses` averages."""
        return int(self.signals.get("steps_per_entry", 1))

    @property
    def train_examples(self) -> int:
        return int(self.signals["train_examples"])

    @property
    def probe_examples(self) -> int:
        return int(self.signals.get("probe_examples", min(MIN_PROBE, self.train_examples)))

    def column(self, name: EpochColumn) -> tuple[float, ...]:
        """Return one number for each whole epoch; empty where not measured."""
        return to_floats(self.signals.get("epochs", {}).get(name) or ())

    def last(self, name: EpochColumn) -> float | None:
        """Return the number of the last epoch; None where not measured or not finite."""
        values = self.column(name)
        return values[-1] if values and math.isfinite(values[-1]) else None

    def final_train_accuracy(self) -> float | None:
        """Return the accuracy on training examples after the last epoch: in evaluation mode, else as trained."""
        probe = self.last("probe_accuracy")
        return self.last("accuracy") if probe is None else probe

    def normalized_accuracy(self, accuracy: float) -> float:
        """Return (accuracy - chance) / (1 - chance): 0 for guessing the most frequent class, 1 for no mistake."""
        return (accuracy - self.chance) / (1 - self.chance) if self.chance < 1 else 0.0

    def beats_chance(self) -> bool:
        """Return whether the accuracy on training examples in the last epoch exceeds chance by 5 standard errors."""
        measured = [(self.last("probe_accuracy"), self.probe_examples), (self.last("accuracy"), self.train_examples)]
        return any(p is not None and p > self.chance + 5 * standard_error(self.chance, n) for p, n in measured)

    def learns_rare_classes(self) -> bool:
        """Return whether one class has almost all examples, and the loss fell clearly whatever the accuracy is.

        A loss that gives rare classes a larger weight trades accuracy for them.
        """
        first, chance_loss = self.smoothed_loss(0.0), self.signals.get("chance_loss")
        reference = min(first, first if chance_loss is None else chance_loss)
        return self.chance >= MOST_UNEVEN and self.smoothed_loss(1.0) < (1 - MIN_FALL) * reference

    def gap(self) -> tuple[float, float] | None:
        """Return training accuracy (evaluation mode) minus validation accuracy, and its standard error."""
        probe, val = self.last("probe_accuracy"), self.last("val_accuracy")
        if probe is None or val is None:
            return None
        errors = standard_error(probe, self.probe_examples), standard_error(val, int(self.signals["val_examples"]))
        return probe - val, math.hypot(*errors)

    def update_ratios(self) -> dict[str, tuple[float, ...]]:
        """Return update norm / weight norm of each layer at the sampled steps with non-zero rate and weights."""
        samples: Samples = self.signals.get("samples") or {}
        weights: SampledWeights = samples.get("weights") or {}
        rates = to_floats(samples.get("lr", ()))
        rows = list(zip(rates, weights.get("update", ()), weights.get("weight", ()), strict=False))
        ratios: dict[str, tuple[float, ...]] = {}
        for i, name in enumerate(weights.get("name", ())):
            pairs = [to_floats((update[i], weight[i])) for rate, update, weight in rows if rate > 0]
            ratios[name] = tuple(u / w for u, w in pairs if w > 0 and math.isfinite(u / w))
        return {name: values for name, values in ratios.items() if values}

    def median_update_ratios(self, *, min_samples: int = 3) -> dict[str, float]:
        """Return the median over the sampled steps for each layer that has at least `min_samples` ratios."""
        return {name: median(values) for name, values in self.update_ratios().items() if len(values) >= min_samples}

    def late_accuracy(self) -> float:
        """Return the accuracy as trained over the last tenth of the steps; NaN where not recorded."""
        tail = self.accuracies[-max(1, len(self.accuracies) // 10) :]
        return mean(tail) if tail else math.nan

    def smoothed_loss(self, progress: float) -> float:
        """Return the loss at `progress` (0 to 1), averaged over a tenth of the run around it; at 0 over five steps."""
        count = len(self.losses)
        if progress == 0:
            return mean(self.losses[: max(1, min(5, count // 10))])
        width = max(1, count // 20)
        index = min(max(self.entry_at(progress), width), count - width)
        return mean(self.losses[index - width : index + width])

    def entry_at(self, progress: float) -> int:
        """Return the index of the entry of `losses` at which the run has made `progress` (0 to 1)."""
        summed = list(accumulate(self.rates()))
        return next((i for i, value in enumerate(summed) if value >= progress * summed[-1]), len(summed) - 1)

    def losses_of_examples(self, examples: int) -> list[float]:
        """Return the losses, averaged over as many entries as have `examples` together."""
        size = int(self.signals.get("batch_size", examples)) * self.steps_per_entry
        width = -(-examples // max(1, size))
        return [mean(self.losses[i : i + width]) for i in range(0, len(self.losses), width)]

    def epoch_losses(self) -> list[tuple[float, float]]:
        """Return for each epoch the mean loss of its steps, and the standard error of that mean from their scatter."""
        epochs, begin = [], 0
        for end in self.column("step"):
            entries = self.losses[begin : round(end / self.steps_per_entry)]
            begin += len(entries)
            if len(entries) > 1:
                epochs.append((mean(entries), sample_std(entries) / math.sqrt(len(entries))))
        return epochs

    def rates(self) -> list[float]:
        """Return the learning rate at each entry of `losses`: that of its epoch's end; ones where it is unknown."""
        rates, ends = self.column("lr"), self.column("step")
        if len(rates) != len(ends) or not sum(rates) > 0:
            return [1.0] * len(self.losses)
        by_entry: list[float] = []
        for rate, end in zip(rates, ends, strict=True):
            by_entry += [rate] * (round(end / self.steps_per_entry) - len(by_entry))
        return (by_entry + [rates[-1]] * len(self.losses))[: len(self.losses)]


def rise_of_targets(signals: Signals) -> tuple[float, float] | None:
    """Return the mean loss of the first and of the last fifth of a training on targets that has clearly got worse.

    So it has where the loss has grown by `MIN_RISE`. None otherwise, and where the accuracy of classes says more.
    """
    losses = to_floats(signals.get("losses", ()))
    fifth = len(losses) // 5
    if fifth < 2 or "r2" not in signals.get("epochs", {}):
        return None
    first, last = mean(losses[:fifth]), mean(losses[-fifth:])
    return (first, last) if last > MIN_RISE * first > 0 else None


def mean(values: Iterable[float]) -> float:
    """Return the mean; NaN where infinities of both signs meet, for which `statistics.fmean` raises."""
    values = list(values)
    return sum(values) / len(values)


def sample_std(values: Sequence[float]) -> float:
    """Return the sample standard deviation; infinite where a value is not finite."""
    return stdev(values) if all(map(math.isfinite, values)) else math.inf


def to_float(value: Any) -> float:
    """Return a float; null, and what is missing, becomes NaN."""
    return to_floats([value])[0]


def to_floats(values: Iterable[Any]) -> tuple[float, ...]:
    """Return floats; the words nan, inf and -inf of signals.json become what they mean, null becomes NaN."""
    return tuple(math.nan if value is None else float(value) for value in values)


def medians(values: Sequence[float], stretches: int) -> list[float]:
    """Return the median of each of `stretches` equal stretches of a curve, at most one stretch for each value."""
    count = min(stretches, len(values))
    return [median(values[i * len(values) // count : (i + 1) * len(values) // count]) for i in range(count)]


def standard_error(share: float, examples: int) -> float:
    """Return sqrt(p (1 - p) / n), the standard error of a share of n = `examples` answers.

    p = (n share + 1) / (n + 2), Laplace's rule of succession, so that a perfect score of few examples is not certain.
    """
    p = (examples * min(max(share, 0.0), 1.0) + 1) / (examples + 2)
    return math.sqrt(p * (1 - p) / examples) if examples else math.inf


def nearest_power_of_ten(wanted: float, measured: float) -> float:
    """Return the factor, from 10 to 1000 or the inverse, that brings `measured` near `wanted`."""
    power = math.log10(wanted / measured) if measured > 0 else 3.0
    return float(10.0 ** math.copysign(min(max(round(abs(power)), 1), 3), power))


def lr_remedy(signals: Signals, factor: float) -> tuple[str, ...]:
    """Return the remedy that multiplies the learning rate by `factor`, at most to 1000; empty if it is unknown."""
    rate = to_float(signals.get("lr"))
    return (f"optimizer.lr={min(rate * factor, 1000):.3g}",) if math.isfinite(rate) and rate > 0 else ()


def is_augmented(signals: Signals) -> bool:
    """Return whether training images were augmented; where it was not recorded, they count as not augmented."""
    # The signal is the name of a class, and `augmentation=none` is the class `NoAugmentation`. The word is part of the
    # format of signals.json: if the class were renamed, old runs would count as augmented.
    return signals.get("augmentation", "NoAugmentation") != "NoAugmentation"
