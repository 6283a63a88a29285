from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pipeline.checks.finding import Finding, Signals
from pipeline.checks.training_curves import Training
from pipeline.validation import number


@dataclass(frozen=True)
class Underfitting:
    """Anti-pattern: a network too small, or held back too much, to learn even the examples that it is shown.

    Rule: a network that has left chance learns at least `min_learned` of what there is on training examples in evaluation
    mode, or answers them so much better than validation examples (`max_gap` and two standard errors) that overfitting is
    the fault.
    """

    min_learned: float
    max_gap: float
    explains: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        number("min_learned", self.min_learned, above=0, below=1)
        number("max_gap", self.max_gap, at_least=0, below=1)

    def __call__(self, signals: Signals) -> Finding | None:
        training = Training.if_finished(signals)
        gap = None if training is None else training.gap()
        if training is None or gap is None or not training.beats_chance():
            return None
        probe = training.last("probe_accuracy")
        assert probe is not None
        if training.normalized_accuracy(probe) >= self.min_learned or gap[0] > self.max_gap + 2 * gap[1]:
            return None
        return Finding(
            check="underfitting",
            severity="warning",
            measured={"probe_accuracy": probe, "val_accuracy": probe - gap[0], "standard_error": gap[1]},
            expected=f"(accuracy - chance) / (1 - chance) of at least {self.min_learned:g} on training examples",
            message=f"Only {probe:.1%} of the training examples are right, and {probe - gap[0]:.1%} of the validation "
            "examples: there is no gap that regularization could close.",
            why="The network cannot express what separates the classes, or its regularization and augmentation leave "
            "too little of the images.",
            remedy=_more_freedom(signals),
            source="lecture notes: no gap between training and validation accuracy => increase model capacity",
        )


def _more_freedom(signals: Signals) -> tuple[str, ...]:
    """First what holds back, then more capacity; more time where neither is known."""
    held = []
    if signals.get("augmentation", "NoAugmentation") != "NoAugmentation":
        held.append("augmentation=none")
    if (signals.get("dropout") or 0) > 0.2 or (signals.get("l2") or 0) > 1e-3:
        held.append("regularization=none")
    if isinstance(width := signals.get("width"), int):
        held.append(f"model.width={2 * width}")
    return tuple(held) or (f"stages.train.epochs={2 * signals['epochs_planned']}",)
