from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pipeline.checks.finding import Finding, Signals
from pipeline.checks.training_curves import Training
from pipeline.validation import integer, number


@dataclass(frozen=True)
class Undertrained:
    """Anti-pattern: a run that ends while the network is still learning.

    Rule: where neither the answers as trained nor those in evaluation mode have learned more than `min_learned` of what
    there is, and training examples are answered no better than validation examples, the run has more than `min_epochs`
    epochs, and the last quarter of the way brought at most `max_last_quarter` of the whole fall of the loss, times what was learned
    (a quarter is what a straight line brings). The way is measured in summed rates, not in steps: a schedule that ends
    at zero makes every curve fall at its end, and that is healthy. A loss that has fallen by less than `min_drop` of its
    first value has another fault than a short run, unless there were fewer than `min_steps` steps in all.
    """

    min_epochs: int
    max_last_quarter: float
    min_drop: float
    min_learned: float
    min_steps: int
    last_quarter_floor: float
    explains: ClassVar[tuple[str, ...]] = ("underfitting",)

    def __post_init__(self) -> None:
        integer("min_epochs", self.min_epochs, at_least=0)
        number("max_last_quarter", self.max_last_quarter, above=0, below=1)
        number("min_drop", self.min_drop, at_least=0, below=1)
        number("min_learned", self.min_learned, above=0, at_most=1)
        integer("min_steps", self.min_steps, at_least=1)
        number("last_quarter_floor", self.last_quarter_floor, at_least=0, below=1)

    def __call__(self, signals: Signals) -> Finding | None:
        training = Training.if_finished(signals)
        if training is None:
            return None
        hardly_begun = training.steps < self.min_steps
        if not hardly_begun and (not training.beats_chance() or len(training.losses) < 10):
            return None
        trained, probe = training.accuracy_at_the_end(), training.last("probe_accuracy")
        accuracy = trained if probe is None else min(trained, probe)
        gap = training.gap()
        if training.normalized_accuracy(accuracy) >= self.min_learned or (
            gap is not None and gap[0] > 2 * gap[1] + 0.02
        ):
            return None
        epochs, left = len(training.column("loss")), self._left(training)
        allowed = max(self.max_last_quarter * training.normalized_accuracy(accuracy), self.last_quarter_floor)
        if not hardly_begun and epochs > self.min_epochs and left <= allowed:
            return None
        wanted = max(2 * signals["epochs_planned"], 10)
        return Finding(
            check="undertrained",
            severity="warning",
            measured={"epochs": float(epochs), "accuracy": accuracy, "last_quarter": left},
            expected=f"{self.min_steps} steps, more than {self.min_epochs} epochs, and a last quarter that brings at most "
            f"{allowed:.0%} of the fall",
            message=f"After {training.steps} steps in {epochs} epoch{'s' if epochs > 1 else ''} {accuracy:.1%} of the "
            f"training examples are right, no more than of others, and the last quarter of the way brought {left:.0%} "
            "of the loss's fall.",
            why="Nothing that the network can learn from these examples is used up yet.",
            remedy=(f"stages.train.epochs={wanted}",),
            source="Godbole et al. 2023, Deep Learning Tuning Playbook: still improving at the end => train longer",
        )

    def _left(self, training: Training) -> float:
        first, almost, last = (training.smoothed_loss(part) for part in (0.0, 0.75, 1.0))
        if not first - last > self.min_drop * abs(first):
            return 0.0
        return (almost - last) / (first - last)
