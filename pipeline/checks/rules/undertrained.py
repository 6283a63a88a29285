from __future__ import annotations

from dataclasses import dataclass

from pipeline.checks.finding import Finding
from pipeline.checks.not_checked import FINISHED_NEEDS
from pipeline.checks.rule import Rule
from pipeline.checks.training_curves import FINISHED_KEYS, GAP_KEYS, Training
from pipeline.signals.schema import Signals
from pipeline.validation import integer, number


@dataclass(frozen=True)
class Undertrained(Rule):
    """Anti-pattern: a run that ends while the network is still learning.

    Fires when (1) normalized training accuracy, the lower of that as trained and that in evaluation mode, is below
    `min_learned`, (2) training is not better than validation, and (3) the run had at most `min_epochs` epochs or fewer
    than `min_steps` steps, or the last quarter of the schedule still gave more than `max_last_quarter` of the total
    drop in loss, times the normalized accuracy, and more than `last_quarter_floor` of it.

    A quarter is what a straight line gives. The schedule is measured in summed learning rates, not in steps: one that
    ends at zero makes every curve fall at its end, and that is healthy. A loss that has dropped by less than `min_drop`
    of its first value, or a network at chance, has another fault than a short run.
    """

    check = "undertrained"
    reads = (*FINISHED_KEYS, *GAP_KEYS, "steps_per_entry")
    needs = (*FINISHED_NEEDS, "accuracies")
    severities = ("warning",)
    why = "The network has not yet learned all that it can learn from these examples."
    source = "Godbole et al. 2023, Deep Learning Tuning Playbook: still improving at the end => train longer"
    remedies = ("stages.train.epochs=...",)
    advice = "Train longer."
    code = "epochs = 2 * epochs"
    explains = ("underfitting",)

    min_epochs: int
    max_last_quarter: float
    min_drop: float
    min_learned: float
    min_steps: int
    last_quarter_floor: float

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
        has_hardly_begun = training.steps < self.min_steps
        if not has_hardly_begun and (not training.beats_chance() or len(training.losses) < 10):
            return None
        trained, probe = training.late_accuracy(), training.last("probe_accuracy")
        accuracy = trained if probe is None else min(trained, probe)
        learned = training.normalized_accuracy(accuracy)
        gap = training.gap()
        if learned >= self.min_learned or (gap is not None and gap[0] > 2 * gap[1] + 0.02):
            return None
        epochs, last_quarter = len(training.column("loss")), self._last_quarter(training)
        allowed = max(self.max_last_quarter * learned, self.last_quarter_floor)
        if not has_hardly_begun and epochs > self.min_epochs and last_quarter <= allowed:
            return None
        return self.finding(
            "warning",
            measured={"epochs": float(epochs), "accuracy": accuracy, "last_quarter": last_quarter},
            expected=f"{self.min_steps} steps, more than {self.min_epochs} epochs, and a last quarter of the schedule "
            f"that gives at most {allowed:.0%} of the drop in loss",
            message=f"After {training.steps} steps in {epochs} epoch{'s' if epochs > 1 else ''} {accuracy:.1%} of the "
            f"training examples are right, no more than of others, and the last quarter of the schedule gave "
            f"{last_quarter:.0%} of the drop in loss.",
            remedy=(f"stages.train.epochs={max(2 * signals['epochs_planned'], 10)}",),
        )

    def _last_quarter(self, training: Training) -> float:
        """Return the share of the loss's drop in the last quarter of the schedule; 0 for too small a drop."""
        first, late, last = (training.smoothed_loss(progress) for progress in (0.0, 0.75, 1.0))
        if not first - last > self.min_drop * abs(first):
            return 0.0
        return (late - last) / (first - last)
