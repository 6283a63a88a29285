from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pipeline.checks.finding import Finding, Signals
from pipeline.checks.training_curves import Training
from pipeline.validation import number


@dataclass(frozen=True)
class ValidationAboveTraining:
    """Anti-pattern: a validation split that is easier than the training split, or that shares examples with it.

    Rule: accuracy on validation examples is at most `max_gap` and `sigmas` standard errors above that on training examples,
    both in evaluation mode and without augmentation. (Accuracy as trained, with dropout, is often lower, and that is
    no fault.)
    """

    max_gap: float
    sigmas: float
    explains: ClassVar[tuple[str, ...]] = ("undertrained", "underfitting")

    def __post_init__(self) -> None:
        number("max_gap", self.max_gap, at_least=0, below=1)
        number("sigmas", self.sigmas, at_least=0)

    def __call__(self, signals: Signals) -> Finding | None:
        training = Training.if_finished(signals)
        gap = None if training is None else training.gap()
        if training is None or gap is None or not -gap[0] > self.max_gap + self.sigmas * gap[1]:
            return None
        probe = training.last("probe_accuracy")
        assert probe is not None
        return Finding(
            check="validation_above_training",
            severity="warning",
            measured={"probe_accuracy": probe, "val_accuracy": probe - gap[0], "standard_error": gap[1]},
            expected=f"validation accuracy at most {self.max_gap:g} and {self.sigmas:g} standard errors above training",
            message=f"{probe - gap[0]:.1%} of the validation examples are right, but only {probe:.1%} of the training "
            "examples, both in evaluation mode.",
            why="New examples cannot be easier than those that were trained on, unless the split is another kind of "
            "data, or training labels are wrong where validation labels are right.",
            remedy=(),
            source="Karpathy, A Recipe for Training Neural Networks (compare the splits)",
        )
