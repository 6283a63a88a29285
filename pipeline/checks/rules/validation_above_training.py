from __future__ import annotations

from dataclasses import dataclass

from pipeline.checks.finding import Finding
from pipeline.checks.not_checked import GAP_NEEDS
from pipeline.checks.rule import Rule
from pipeline.checks.training_curves import FINISHED_KEYS, GAP_KEYS, Training
from pipeline.signals.schema import Signals
from pipeline.validation import number


@dataclass(frozen=True)
class ValidationAboveTraining(Rule):
    """Anti-pattern: a validation split that is easier than the training split, or that shares examples with it.

    Fires when accuracy on validation examples is more than `max_gap` and `sigmas` standard errors above that on
    training examples, both in evaluation mode and without augmentation. (Accuracy as trained, with dropout, is often
    lower, and that is no fault.)
    """

    check = "validation_above_training"
    reads = (*FINISHED_KEYS, *GAP_KEYS)
    needs = GAP_NEEDS
    severities = ("warning",)
    why = (
        "New examples cannot be easier than those that were trained on, unless the split is another kind of data, or "
        "training labels are wrong where validation labels are right."
    )
    source = "Karpathy, A Recipe for Training Neural Networks (compare the splits)"
    advice = "Draw both splits at random from the same examples, and look at the training labels."
    code = "train_data, val_data = torch.utils.data.random_split(data, [0.9, 0.1])"
    explains = ("undertrained", "underfitting")

    max_gap: float
    sigmas: float

    def __post_init__(self) -> None:
        number("max_gap", self.max_gap, at_least=0, below=1)
        number("sigmas", self.sigmas, at_least=0)

    def __call__(self, signals: Signals) -> Finding | None:
        training = Training.if_finished(signals)
        if training is None:
            return None
        difference, probe = training.gap(), training.last("probe_accuracy")
        if difference is None or probe is None:
            return None
        gap, error = difference
        if not -gap > self.max_gap + self.sigmas * error:
            return None
        val = probe - gap
        return self.finding(
            "warning",
            measured={"probe_accuracy": probe, "val_accuracy": val, "standard_error": error},
            expected=f"validation accuracy at most {self.max_gap:g} and {self.sigmas:g} standard errors above training",
            message=f"{val:.1%} of the validation examples are right, but only {probe:.1%} of the training examples, "
            "both in evaluation mode.",
        )
