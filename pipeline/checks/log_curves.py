"""Arithmetic of curves of which little is known: those of a log that another program wrote.

Their noise is estimated from second differences, which a smooth trend hardly touches and single outliers do not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, NamedTuple

from pipeline.checks.training_curves import standard_error, to_floats
from pipeline.signals.schema import Signals

MIN_EVALUATIONS = 3
"""Validations from which a rise of the validation loss can be seen."""


class Rise(NamedTuple):
    """A rise of the validation loss from its minimum to the end."""

    lowest: float
    last: float
    lowest_at: int
    """Index of the minimum."""

    @property
    def ratio(self) -> float:
        return self.last / self.lowest


@dataclass(frozen=True)
class LogCurves:
    """The columns of `epochs` that most logs have; an empty one was not logged."""

    signals: Signals
    loss: tuple[float, ...]
    val_loss: tuple[float, ...]
    accuracy: tuple[float, ...]
    val_accuracy: tuple[float, ...]

    @classmethod
    def if_finished(cls, signals: Signals) -> LogCurves | None:
        """Return the curves of a training that is over; None otherwise, after an early stop, and without epochs."""
        if signals.get("running") or signals.get("exploded") or signals.get("nonfinite"):
            return None
        epochs = signals.get("epochs", {})
        names = ("loss", "val_loss", "accuracy", "val_accuracy")
        columns: list[Any] = [epochs.get(name) or () for name in names]
        return cls(signals, *map(to_floats, columns)) if columns[0] else None

    def gap(self) -> tuple[float, float]:
        """Return training accuracy as trained minus validation accuracy at the end, and its standard error.

        The gap is NaN where one was not logged, and the error infinite where the validation examples are not known.
        """
        if not self.accuracy or not self.val_accuracy:
            return math.nan, math.inf
        train, val = self.accuracy[-1], self.val_accuracy[-1]
        train_examples = self.signals.get("train_examples")
        errors = standard_error(train, train_examples) if train_examples else 0.0
        return train - val, math.hypot(errors, standard_error(val, self.signals.get("val_examples", 0)))

    def val_loss_rise(self) -> Rise | None:
        """Return the rise of the validation loss.

        None where it is within 4 standard deviations of noise, or where the training loss rose as well.
        """
        losses = self.val_loss
        if len(losses) < MIN_EVALUATIONS or not all(loss > 0 and math.isfinite(loss) for loss in losses):
            return None
        smooth = _medians_of_three(losses) if len(losses) > 2 * MIN_EVALUATIONS else list(losses)
        lowest = min(smooth)
        index = smooth.index(lowest)
        has_fallen = len(self.loss) == len(losses) and self.loss[-1] < self.loss[index]
        if not has_fallen or smooth[-1] - lowest <= 4 * noise(losses):
            return None
        return Rise(lowest, smooth[-1], index)


def noise(values: Sequence[float]) -> float:
    """Return the standard deviation of independent noise on a smooth curve; 0 for fewer than 5 values.

    Second differences of such noise have a standard deviation of sqrt(6) times its own; 1.4826 x the median of their
    sizes estimates it, whatever a few outliers are.
    """
    if len(values) < 5:
        return 0.0
    differences = [abs(a - 2 * b + c) for a, b, c in zip(values, values[1:], values[2:], strict=False)]
    return 1.4826 * median(differences) / math.sqrt(6)


def _medians_of_three(values: Sequence[float]) -> list[float]:
    """Return the median of each value and its neighbours; at both ends of the last three."""
    inner = [median(values[i - 1 : i + 2]) for i in range(1, len(values) - 1)]
    return [inner[0], *inner, inner[-1]]
