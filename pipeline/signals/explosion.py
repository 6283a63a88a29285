"""Whether a loss has exploded, decided step by step while a network is trained."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

BREAK_FACTOR = 3.0
"""The notes' multiple of the first loss from which a run has exploded, as in conf/stage/train.yaml."""
MIN_EXAMPLES = 16
"""Losses are averaged over at least so many examples: with a batch of one, a single wrong answer is no explosion."""
STEPS_IN_A_ROW = 5
"""Steps above the limit that end a training. A peak of a schedule, or a rare example with a large weight, lasts one or
two steps and comes back; a network that diverges stays above."""
AT_ONCE = 10
"""Multiple of the limit that needs no second step."""


@dataclass
class Explosion:
    """Compares the loss of each step with that of the first, the original cost.

    It has exploded where it is above `break_factor` times the original cost in `STEPS_IN_A_ROW` steps, or `AT_ONCE`
    times as high in one. Steps of less than `MIN_EXAMPLES` examples are gathered until they have so many, and count as
    one. For losses below zero the limits are as far above the original cost as for positive ones.
    """

    break_factor: float
    original_cost: float | None = None
    total: float = 0.0
    """Sum of loss x examples over the steps that are being gathered."""
    examples: int = 0
    steps_above: int = 0

    def add(self, loss: float, examples: int) -> float | None:
        """Add a step; return the loss, or its mean over gathered steps, if it has exploded by it."""
        cost = loss
        if self.examples or examples < MIN_EXAMPLES:
            self.total, self.examples = self.total + loss * examples, self.examples + examples
            if self.examples < MIN_EXAMPLES:
                return None
            cost, self.total, self.examples = self.total / self.examples, 0.0, 0
        if self.original_cost is None:
            self.original_cost = cost
        excess = cost - self.original_cost
        self.steps_above = self.steps_above + 1 if excess > self._limit(self.break_factor) else 0
        has_exploded = self.steps_above >= STEPS_IN_A_ROW or excess > self._limit(AT_ONCE * self.break_factor)
        return cost if has_exploded and self.original_cost != 0 else None

    def _limit(self, factor: float) -> float:
        """Return how far the loss may be above the original cost; for a positive one that is `factor` times it."""
        return (factor - 1) * abs(self.original_cost or 0.0)

    def state(self) -> dict[str, Any]:
        """Return plain data for a checkpoint."""
        return {key: value for key, value in asdict(self).items() if key != "break_factor"}

    def load(self, state: dict[str, Any]) -> None:
        """Continue from a `state()`; what it lacks stays as it is."""
        for key, value in state.items():
            setattr(self, key, value)
