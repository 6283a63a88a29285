from __future__ import annotations

from dataclasses import dataclass

from pipeline.checks.finding import Finding
from pipeline.checks.not_checked import GAP_NEEDS
from pipeline.checks.rule import Rule
from pipeline.checks.training_curves import FINISHED_KEYS, GAP_KEYS, Training, is_augmented
from pipeline.signals.schema import Signals
from pipeline.validation import number


@dataclass(frozen=True)
class Underfitting(Rule):
    """Anti-pattern: a network too small, or restricted too much, to learn even the examples that it is trained on.

    Fires when a network that has left chance has a normalized training accuracy, in evaluation mode, below
    `min_learned`, and training examples are not better than validation examples by more than `max_gap` and two standard
    errors: beyond that it is overfitting.
    """

    check = "underfitting"
    reads = (*FINISHED_KEYS, *GAP_KEYS, "augmentation", "dropout", "l2", "width")
    needs = GAP_NEEDS
    severities = ("warning",)
    why = (
        "The network cannot express what separates the classes, or its regularization and augmentation leave too "
        "little of the images."
    )
    source = "lecture notes: no gap between training and validation accuracy => increase model capacity"
    remedies = ("augmentation=none", "regularization=none", "model.width=...", "stages.train.epochs=...")
    advice = "Take a larger network, or less regularization and augmentation."
    code = "hidden = nn.Linear(inputs, 2 * units)"

    min_learned: float
    max_gap: float

    def __post_init__(self) -> None:
        number("min_learned", self.min_learned, above=0, below=1)
        number("max_gap", self.max_gap, at_least=0, below=1)

    def __call__(self, signals: Signals) -> Finding | None:
        training = Training.if_finished(signals)
        if training is None:
            return None
        difference, probe = training.gap(), training.last("probe_accuracy")
        if difference is None or probe is None or not training.beats_chance():
            return None
        gap, error = difference
        if training.normalized_accuracy(probe) >= self.min_learned or gap > self.max_gap + 2 * error:
            return None
        val = probe - gap
        return self.finding(
            "warning",
            measured={"probe_accuracy": probe, "val_accuracy": val, "standard_error": error},
            expected=f"(accuracy - chance) / (1 - chance) of at least {self.min_learned:g} on training examples",
            message=f"Only {probe:.1%} of the training examples are right, and {val:.1%} of the validation examples: "
            "there is no gap that regularization could close.",
            remedy=_more_freedom(signals),
        )


def _more_freedom(signals: Signals) -> tuple[str, ...]:
    """Return remedies: first less restriction, then more capacity; more epochs where neither is known."""
    remedies = []
    if is_augmented(signals):
        remedies.append("augmentation=none")
    if (signals.get("dropout") or 0) > 0.2 or (signals.get("l2") or 0) > 1e-3:
        remedies.append("regularization=none")
    if isinstance(width := signals.get("width"), int):
        remedies.append(f"model.width={2 * width}")
    return tuple(remedies) or (f"stages.train.epochs={2 * signals['epochs_planned']}",)
