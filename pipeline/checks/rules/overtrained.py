from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pipeline.checks.finding import Finding, Signals
from pipeline.checks.training_curves import Training, standard_error
from pipeline.validation import integer, number


@dataclass(frozen=True)
class Overtrained:
    """Anti-pattern: hundreds of epochs after the last one that changed anything.

    Rule: the epochs after the network was as good as at the end, on training and on validation examples (within two
    standard errors of validation accuracy), are fewer than `max_wasted_epochs` or less than `max_wasted_fraction` of the run. A run that is a
    little too long is not blamed; half of both is a hint.
    """

    max_wasted_epochs: int
    max_wasted_fraction: float
    explains: ClassVar[tuple[str, ...]] = ()

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
        done = _done(training, probe, val)
        total = len(val)
        wasted = total - done
        if wasted < self.max_wasted_epochs / 2 or wasted < self.max_wasted_fraction * total:
            return None
        heavy = wasted >= self.max_wasted_epochs
        return Finding(
            check="overtrained",
            severity="warning" if heavy else "info",
            measured={"epochs": float(total), "enough": float(done), "val_accuracy": val[-1]},
            expected=f"an end at most {self.max_wasted_epochs} epochs, or {self.max_wasted_fraction:.0%} of the run, after nothing gets better",
            message=f"After {done} of {total} epochs the network was as good as it would become: {val[done - 1]:.1%} "
            f"right then on validation examples, {val[-1]:.1%} at the end.",
            why="The rest of the run costs time and can only learn accidents of the training examples.",
            remedy=(f"stages.train.epochs={max(2 * done, 5)}", f"stages.train.patience={max(done, 5)}")[: 1 + heavy],
            source="Prechelt 1998, Early Stopping - But When?",
        )


def _done(training: Training, probe: tuple[float, ...], val: tuple[float, ...]) -> int:
    """Epochs until the means of five epochs are as good as ever after, but for two standard errors."""
    error_probe = standard_error(max(probe), training.probe_examples)
    error_val = standard_error(max(val), int(training.signals["val_examples"]))
    smooth = [_smoothed(probe), _smoothed(val)]
    for epoch in range(len(val)):
        if all(
            max(curve[epoch:]) - curve[epoch] <= 2 * error
            for curve, error in zip(smooth, (error_probe, error_val), strict=True)
        ):
            return epoch + 1
    return len(val)


def _smoothed(values: tuple[float, ...]) -> list[float]:
    """Means over five epochs around each."""
    windows = (values[max(0, i - 2) : i + 3] for i in range(len(values)))
    return [sum(window) / len(window) for window in windows]
