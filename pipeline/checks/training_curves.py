"""Arithmetic of training curves that several rules share. A loss curve is noisy: it is read by medians of pieces, and
accuracies are compared only in multiples of their standard error."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from statistics import median, stdev
from typing import Any

from pipeline.checks.finding import Signals

LEAST_PROBE = 64
"""Examples of the probe where the signals do not say: the fewest that the recorder uses."""


@dataclass(frozen=True)
class Training:
    """The `train` object of docs/signals.md as numbers: what several rules ask of it."""

    signals: Signals
    losses: tuple[float, ...]
    accuracies: tuple[float, ...]
    chance: float
    """Share of right answers of the best answer that does not look at the image."""

    @classmethod
    def from_signals(cls, signals: Signals) -> Training | None:
        """None for other stages, where no step was made, and where the classes are unknown."""
        classes, losses = signals.get("classes"), to_floats(signals.get("losses", ()))
        if "epochs_planned" not in signals or not classes or not losses:
            return None
        chance = signals.get("chance_accuracy") or 1 / classes
        return cls(signals, losses, to_floats(signals.get("accuracies", ())), float(chance))

    @classmethod
    def if_finished(cls, signals: Signals) -> Training | None:
        """Of a training that made at least one whole epoch and is over; None otherwise, and after an early break."""
        if signals.get("running") or signals.get("exploded") or signals.get("nonfinite"):
            return None  # first, since reading thousands of losses after each epoch takes its time
        training = cls.from_signals(signals)
        return None if training is None or not training.column("loss") else training

    @property
    def steps(self) -> int:
        return len(self.losses) * self.per_entry

    @property
    def per_entry(self) -> int:
        """Steps that one entry of `losses` is the mean of."""
        return int(self.signals.get("steps_per_entry", 1))

    @property
    def entry_examples(self) -> int:
        return int(self.signals["batch_size"]) * self.per_entry

    @property
    def probe_examples(self) -> int:
        return int(self.signals.get("probe_examples", min(LEAST_PROBE, int(self.signals["train_examples"]))))

    def column(self, name: str) -> tuple[float, ...]:
        """One number per whole epoch; empty where not measured."""
        return to_floats(self.signals.get("epochs", {}).get(name) or ())

    def last(self, name: str) -> float | None:
        """Of the last epoch; None where not measured or not finite."""
        values = self.column(name)
        return values[-1] if values and math.isfinite(values[-1]) else None

    def final_train_accuracy(self) -> float | None:
        """Share of right answers on training examples after the last epoch: in evaluation mode, else as trained."""
        probe = self.last("probe_accuracy")
        return self.last("accuracy") if probe is None else probe

    def normalized_accuracy(self, accuracy: float) -> float:
        """(accuracy - chance) / (1 - chance): 0 for guessing the most frequent class, 1 for no mistake."""
        return (accuracy - self.chance) / (1 - self.chance) if self.chance < 1 else 0.0

    def beats_chance(self) -> bool:
        """Whether the answers on training examples, in the last epoch, are better than a guess by 5 standard errors."""
        seen = [(self.last("probe_accuracy"), self.probe_examples), (self.last("accuracy"), self.examples_an_epoch)]
        return any(p is not None and p > self.chance + 5 * standard_error(self.chance, n) for p, n in seen)

    @property
    def examples_an_epoch(self) -> int:
        return int(self.signals["train_examples"])

    def gap(self) -> tuple[float, float] | None:
        """Accuracy on training examples (evaluation mode) minus that on validation examples, and its standard error."""
        probe, val = self.last("probe_accuracy"), self.last("val_accuracy")
        if probe is None or val is None:
            return None
        errors = standard_error(probe, self.probe_examples), standard_error(val, int(self.signals["val_examples"]))
        return probe - val, math.hypot(*errors)

    def ratios(self) -> dict[str, tuple[float, ...]]:
        """update norm / weight norm of each layer at the sampled steps where the rate and the weights are not zero."""
        samples: dict[str, Any] = self.signals.get("samples") or {}
        weights, rates = samples.get("weights") or {}, to_floats(samples.get("lr", ()))
        rows = list(zip(rates, weights.get("update", ()), weights.get("weight", ()), strict=False))
        found: dict[str, tuple[float, ...]] = {}
        for i, name in enumerate(weights.get("name", ())):
            pairs = [to_floats((update[i], weight[i])) for rate, update, weight in rows if rate > 0]
            found[name] = tuple(u / w for u, w in pairs if w > 0 and math.isfinite(u / w))
        return {name: values for name, values in found.items() if values}

    def typical_ratios(self, *, at_least: int = 3) -> dict[str, float]:
        """The median of `ratios` over the sampled steps, of each layer with at least so many of them."""
        return {name: median(values) for name, values in self.ratios().items() if len(values) >= at_least}

    def accuracy_at_the_end(self) -> float:
        """Share of right answers as trained, over the last tenth of the steps; NaN where not recorded."""
        tail = self.accuracies[-max(1, len(self.accuracies) // 10) :]
        return mean(tail) if tail else math.nan

    def smoothed_loss(self, part: float) -> float:
        """The loss after `part` of the way, the mean over a tenth of the run around it. The way is the sum of the
        rates: after a schedule has let the rate fall to nothing, steps lead nowhere. At the start five steps count."""
        count = len(self.losses)
        if part == 0:
            return mean(self.losses[: max(1, min(5, count // 10))])
        way = list(accumulate(self.rates()))
        place = next((i for i, done in enumerate(way) if done >= part * way[-1]), count - 1)
        width = max(1, count // 20)
        place = min(max(place, width), count - width)
        return mean(self.losses[place - width : place + width])

    def epoch_losses(self) -> list[tuple[float, float]]:
        """Of each epoch: the mean loss of its steps, and the standard error of that mean from their scatter."""
        found, begin = [], 0
        for end in self.column("step"):
            entries = self.losses[begin : round(end / self.per_entry)]
            begin += len(entries)
            if len(entries) > 1:
                found.append((mean(entries), sample_std(entries) / math.sqrt(len(entries))))
        return found

    def rates(self) -> list[float]:
        """The learning rate at each entry of `losses`: that of its epoch's end; ones where it is not known."""
        rates, ends = self.column("lr"), self.column("step")
        if len(rates) != len(ends) or not sum(rates) > 0:
            return [1.0] * len(self.losses)
        found: list[float] = []
        for rate, end in zip(rates, ends, strict=True):
            found += [rate] * (round(end / self.per_entry) - len(found))
        return (found + [rates[-1]] * len(self.losses))[: len(self.losses)]


def mean(values: Iterable[float]) -> float:
    """NaN where infinities of both signs meet, over which `statistics.fmean` breaks."""
    values = list(values)
    return sum(values) / len(values)


def sample_std(values: Sequence[float]) -> float:
    """Sample standard deviation; infinite where a value is not finite."""
    return stdev(values) if all(map(math.isfinite, values)) else math.inf


def to_floats(values: Iterable[Any]) -> tuple[float, ...]:
    """Floats; the words nan, inf and -inf of signals.json become what they mean, null becomes NaN."""
    return tuple(math.nan if value is None else float(value) for value in values)


def medians(values: Sequence[float], pieces: int) -> list[float]:
    """The median of each of `pieces` equal stretches of a curve, at most one stretch a value."""
    pieces = min(pieces, len(values))
    return [median(values[i * len(values) // pieces : (i + 1) * len(values) // pieces]) for i in range(pieces)]


def standard_error(share: float, examples: int) -> float:
    """sqrt(p (1 - p) / n) of a share of right answers, with p = (n share + 1) / (n + 2), so that a perfect score of
    few examples is not taken for certain (Laplace's rule of succession)."""
    p = (examples * min(max(share, 0.0), 1.0) + 1) / (examples + 2)
    return math.sqrt(p * (1 - p) / examples) if examples else math.inf


def nearest_power_of_ten(wanted: float, measured: float) -> float:
    """What to multiply a rate by, so that `measured` comes near `wanted`: 10 to 1000, or one over that."""
    power = math.log10(wanted / measured) if measured > 0 else 3.0
    return float(10.0 ** math.copysign(min(max(round(abs(power)), 1), 3), power))


def lr_remedy(signals: Signals, factor: float) -> tuple[str, ...]:
    """The remedy that multiplies the learning rate, within what optimizers accept; nothing where it is unknown."""
    rate = to_floats([signals.get("lr")])[0]
    return (f"optimizer.lr={min(rate * factor, 1000):.3g}",) if math.isfinite(rate) and rate > 0 else ()
