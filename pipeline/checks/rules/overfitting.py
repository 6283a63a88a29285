from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from pipeline.checks.finding import Finding, Signals
from pipeline.checks.training_curves import Training, standard_error
from pipeline.validation import integer, number


@dataclass(frozen=True)
class Overfitting:
    """Anti-pattern: examples learned by heart, where something about them should have been learned.

    Rule: accuracy on training examples, in evaluation mode, exceeds that on validation examples by no more than `max_gap`
    and two standard errors of the difference (`max_gap_few`, where there are fewer than `few_per_class` training examples a class);
    and where training examples are learned, validation examples are better than a guess.

    Learning by heart is no fault in itself: an without_smoothing network that is 100 % right on 5,000 training images and
    86 % on others does what such a network can. So the gap has to be large, beyond what the sample could show by
    chance. `max_val_loss_rise` is Prechelt's generalization loss: validation loss over its minimum; it is a hint where accuracy
    does not suffer.
    """

    max_gap: float
    max_gap_few: float
    few_per_class: int
    max_val_loss_rise: float
    explains: ClassVar[tuple[str, ...]] = ("overtrained",)

    def __post_init__(self) -> None:
        number("max_gap", self.max_gap, above=0, below=1)
        number("max_gap_few", self.max_gap_few, above=0, at_most=self.max_gap)
        integer("few_per_class", self.few_per_class, at_least=1)
        number("max_val_loss_rise", self.max_val_loss_rise, above=1)

    def __call__(self, signals: Signals) -> Finding | None:
        training = Training.if_finished(signals)
        found, val = (None, None) if training is None else (training.gap(), training.last("val_accuracy"))
        if training is None or found is None or val is None or not training.beats_chance():
            return None
        gap, error = found
        guess = standard_error(training.chance, signals["val_examples"])
        if val <= training.chance + 3 * guess and gap > 2 * error + 0.05:
            return self._by_heart(training, gap, error)
        allowed = (
            self.max_gap_few if signals["train_examples"] < self.few_per_class * signals["classes"] else self.max_gap
        )
        if gap > allowed + 2 * error:
            return self._gap(training, gap, error, allowed)
        return self._rise(training, gap, error)

    def _by_heart(self, training: Training, gap: float, error: float) -> Finding:
        probe, val = training.last("probe_accuracy"), training.last("val_accuracy")
        return self._finding(
            severity="failure",
            measured=_measured(training, gap, error),
            expected=f"validation examples above the {training.chance:.1%} of a guess",
            message=f"{probe:.1%} of the training examples are right and {val:.1%} of the validation examples, no more "
            "than a guess: what was learned is these examples by heart.",
            why="Nothing that was learned holds for other images: the labels do not belong to the images, or both "
            "splits are prepared differently.",
            remedy=(),
            source="Zhang et al. 2017, Understanding deep learning requires rethinking generalization: networks learn "
            "random labels by heart",
        )

    def _gap(self, training: Training, gap: float, error: float, allowed: float) -> Finding:
        probe, val = training.last("probe_accuracy"), training.last("val_accuracy")
        examples = training.signals["train_examples"]
        return self._finding(
            severity="warning",
            measured=_measured(training, gap, error),
            expected=f"a gap of at most {allowed:g} and two standard errors ({2 * error:.3f})",
            message=f"{probe:.1%} of the training examples are right and {val:.1%} of the validation examples, after "
            f"training on {examples:,}.",
            why="The network has more freedom than the examples can bind, and fills it with their accidents.",
            remedy=_more_regularization(training),
            source="lecture notes: a big gap between training and validation accuracy is overfitting => increase "
            "regularization strength",
        )

    def _rise(self, training: Training, gap: float, error: float) -> Finding | None:
        losses = training.column("val_loss")
        if not losses or not all(loss > 0 for loss in losses) or gap <= 2 * error:
            return None
        least, risen = min(losses), losses[-1] / min(losses)
        if risen <= self.max_val_loss_rise:
            return None
        epoch = losses.index(least)
        return self._finding(
            severity="info",
            measured=_measured(training, gap, error) | {"least_val_loss": least, "val_loss": losses[-1]},
            expected=f"a validation loss that ends below {self.max_val_loss_rise:g} x its least",
            message=f"The validation loss was {least:.4g} after epoch {epoch + 1} and is {losses[-1]:.4g} at the end: "
            "the network grows surer of its wrong answers.",
            why="Accuracy does not suffer from it, the probabilities do.",
            remedy=_more_regularization(training),
            source="Prechelt 1998, Early Stopping - But When? (generalization loss)",
        )

    def _finding(self, **fields: Any) -> Finding:
        return Finding(check="overfitting", **fields)


def _measured(training: Training, gap: float, error: float) -> dict[str, float]:
    probe, val = training.last("probe_accuracy"), training.last("val_accuracy")
    assert probe is not None
    assert val is not None
    return {"probe_accuracy": probe, "val_accuracy": val, "gap": gap, "standard_error": error}


def _more_regularization(training: Training) -> tuple[str, ...]:
    """What is off is turned on; what is on is turned up."""
    l2, dropout = training.signals.get("l2") or 0.0, training.signals.get("dropout") or 0.0
    if l2 == 0 and dropout == 0:
        return ("regularization=l2_dropout",)
    stronger = {0.0: 0.3}.get(dropout, min(dropout + 0.2, 0.6))
    return (
        (f"regularization.dropout={stronger:.2g}",)
        if stronger > dropout
        else (f"regularization.l2={max(l2, 1e-4) * 3:.2g}",)
    )
