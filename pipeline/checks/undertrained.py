from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pipeline.checks.curve import Training
from pipeline.checks.finding import Finding, Signals
from pipeline.fields import real, whole


@dataclass(frozen=True)
class Undertrained:
    """Anti-pattern: a run that ends while the network is still learning.

    Rule: where neither the answers as trained nor those in evaluation mode have learned more than `learned` of what
    there is, and training examples are answered no better than validation examples, the run has more than `few`
    epochs, and the last quarter of the way brought at most `left` of the whole fall of the loss, times what was learned
    (a quarter is what a straight line brings). The way is measured in summed rates, not in steps: a schedule that ends
    at zero makes every curve fall at its end, and that is healthy. A loss that has fallen by less than `moved` of its
    first value has another fault than a short run, unless there were fewer than `steps` steps in all.
    """

    few: int
    left: float
    moved: float
    learned: float
    steps: int
    least: float
    explains: ClassVar[tuple[str, ...]] = ("underfitting",)

    def __post_init__(self) -> None:
        whole("few", self.few, at_least=0)
        real("left", self.left, above=0, below=1)
        real("moved", self.moved, at_least=0, below=1)
        real("learned", self.learned, above=0, at_most=1)
        whole("steps", self.steps, at_least=1)
        real("least", self.least, at_least=0, below=1)

    def __call__(self, signals: Signals) -> Finding | None:
        training = Training.ended(signals)
        if training is None:
            return None
        hardly_begun = training.steps < self.steps
        if not hardly_begun and (not training.left_chance() or len(training.losses) < 10):
            return None
        trained, probe = training.accuracy_at_the_end(), training.last("probe_accuracy")
        accuracy = trained if probe is None else min(trained, probe)
        gap = training.gap()
        if training.learned(accuracy) >= self.learned or (gap is not None and gap[0] > 2 * gap[1] + 0.02):
            return None
        epochs, left = len(training.column("loss")), self._left(training)
        allowed = max(self.left * training.learned(accuracy), self.least)
        if not hardly_begun and epochs > self.few and left <= allowed:
            return None
        wanted = max(2 * signals["epochs_planned"], 10)
        return Finding(
            check="undertrained",
            severity="warning",
            measured={"epochs": float(epochs), "accuracy": accuracy, "last_quarter": left},
            expected=f"{self.steps} steps, more than {self.few} epochs, and a last quarter that brings at most "
            f"{allowed:.0%} of the fall",
            message=f"After {training.steps} steps in {epochs} epoch{'s' if epochs > 1 else ''} {accuracy:.1%} of the "
            f"training examples are right, no more than of others, and the last quarter of the way brought {left:.0%} "
            "of the loss's fall.",
            why="Nothing that the network can learn from these examples is used up yet.",
            remedy=(f"stages.train.epochs={wanted}",),
            source="Godbole et al. 2023, Deep Learning Tuning Playbook: still improving at the end => train longer",
        )

    def _left(self, training: Training) -> float:
        first, almost, last = (training.smoothed(part) for part in (0.0, 0.75, 1.0))
        if not first - last > self.moved * abs(first):
            return 0.0
        return (almost - last) / (first - last)
