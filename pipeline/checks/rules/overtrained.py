from __future__ import annotations

from dataclasses import dataclass

from pipeline.checks.finding import Finding
from pipeline.checks.not_checked import GAP_NEEDS
from pipeline.checks.rule import Rule
from pipeline.checks.training_curves import FINISHED_KEYS, GAP_KEYS, Training, standard_error
from pipeline.signals.schema import Signals
from pipeline.validation import integer, number


@dataclass(frozen=True)
class Overtrained(Rule):
    """Anti-pattern: hundreds of epochs after the last one that changed anything.

    Fires when the epochs after which nothing became better, on training and on validation examples (within two standard
    errors of accuracy), are at least `max_wasted_fraction` of the run and at least `max_wasted_epochs`. From half of
    `max_wasted_epochs` on it is `info`: a run that is a little too long is no fault.
    """

    check = "overtrained"
    reads = (*FINISHED_KEYS, *GAP_KEYS)
    needs = GAP_NEEDS
    severities = ("warning", "info")
    why = "The rest of the run costs time and can only learn accidents of the training examples."
    source = "Prechelt 1998, Early Stopping - But When?"
    remedies = ("stages.train.epochs=...", "stages.train.patience=...")
    advice = "Stop when the validation score no longer improves."
    code = "should_stop = epoch - best_epoch >= patience"

    max_wasted_epochs: int
    max_wasted_fraction: float

    def __post_init__(self) -> None:
        integer("max_wasted_epochs", self.max_wasted_epochs, at_least=2)
        number("max_wasted_fraction", self.max_wasted_fraction, above=0, below=1)

    def __call__(self, signals: Signals) -> Finding | None:
        training = Training.if_finished(signals)
        if training is None or not training.beats_chance():
            return None
        probe, val = training.column("probe_accuracy"), training.column("val_accuracy")
        if not probe or not val:
            return None
        total, needed = len(val), _needed_epochs(training, probe, val)
        wasted = total - needed
        if wasted < self.max_wasted_epochs / 2 or wasted < self.max_wasted_fraction * total:
            return None
        is_long = wasted >= self.max_wasted_epochs
        epochs, patience = f"stages.train.epochs={max(2 * needed, 5)}", f"stages.train.patience={max(needed, 5)}"
        return self.finding(
            "warning" if is_long else "info",
            measured={"epochs": float(total), "enough": float(needed), "val_accuracy": val[-1]},
            expected=f"an end at most {self.max_wasted_epochs} epochs, or {self.max_wasted_fraction:.0%} of the run, "
            "after the last improvement",
            message=f"After {needed} of {total} epochs the network was as good as it would become: "
            f"{val[needed - 1]:.1%} right then on validation examples, {val[-1]:.1%} at the end.",
            remedy=(epochs, patience) if is_long else (epochs,),
        )


def _needed_epochs(training: Training, probe: tuple[float, ...], val: tuple[float, ...]) -> int:
    """Return the epochs until the means of five epochs are as good as ever after, within two standard errors."""
    probe_error = standard_error(max(probe), training.probe_examples)
    val_error = standard_error(max(val), int(training.signals["val_examples"]))
    curves = [(_smoothed(probe), probe_error), (_smoothed(val), val_error)]
    for epoch in range(len(val)):
        if all(max(curve[epoch:]) - curve[epoch] <= 2 * error for curve, error in curves):
            return epoch + 1
    return len(val)


def _smoothed(values: tuple[float, ...]) -> list[float]:
    """Return the mean over the five epochs around each."""
    windows = (values[max(0, i - 2) : i + 3] for i in range(len(values)))
    return [sum(window) / len(window) for window in windows]
