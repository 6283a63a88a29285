from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import Any, ClassVar

from pipeline.checks.finding import Finding, Signals
from pipeline.checks.training_curves import Training, lr_remedy
from pipeline.validation import integer, number


@dataclass(frozen=True)
class LossPlateau:
    """Anti-pattern: a run that goes on although nothing gets better: at chance, or at a level that was reached at once.

    Rule: after `min_steps` steps the answers on training examples are better than the most frequent class by five standard
    errors; and a loss that made all but `max_late_drop` of its fall in the first quarter of the steps has, at a rate that has
    not been lowered and with updates of more than `min_ratio` of the weights, learned at least `min_learned` of what there is.
    """

    min_steps: int
    max_late_drop: float
    min_ratio: float
    min_learned: float
    explains: ClassVar[tuple[str, ...]] = ("update_ratio_high", "update_ratio_low", "undertrained", "underfitting")

    def __post_init__(self) -> None:
        integer("min_steps", self.min_steps, at_least=20)
        number("max_late_drop", self.max_late_drop, above=0, below=1)
        number("min_ratio", self.min_ratio, above=0)
        number("min_learned", self.min_learned, above=0, at_most=1)

    def __call__(self, signals: Signals) -> Finding | None:
        training = Training.if_finished(signals)
        if training is None or training.steps < self.min_steps:
            return None
        accuracy = training.final_train_accuracy()
        if accuracy is None:
            return None
        return self._too_fast(training, accuracy) if training.beats_chance() else self._at_chance(training, accuracy)

    def _at_chance(self, training: Training, accuracy: float) -> Finding:
        loss, chance = training.smoothed_loss(1.0), training.signals.get("chance_loss")
        level = "" if chance is None else f" (knowing the classes' frequencies alone gives {chance:.4g})"
        augmented = training.signals.get("augmentation", "NoAugmentation") != "NoAugmentation"
        return self._finding(
            severity="failure",
            measured={"accuracy": accuracy, "chance": training.chance, "loss": loss},
            expected=f"more than the {training.chance:.1%} of training examples that the most frequent class gives",
            message=f"After {training.steps} steps {accuracy:.1%} of the training examples are right and the loss is "
            f"{loss:.4g}{level}: the network never left chance.",
            why="No gradient that tells one image from another reaches the weights: units are saturated, dead or "
            "copies of each other, signals fade with depth, or nothing in an image belongs to its label.",
            remedy=(
                "init=he",
                "activation=relu",
                "batchnorm=before_activation",
                *(("augmentation=none",) if augmented else ()),
            ),
            source="Karpathy, A Recipe for Training Neural Networks: the input-independent baseline must be beaten",
        )

    def _too_fast(self, training: Training, accuracy: float) -> Finding | None:
        ratios, rates = training.typical_ratios().values(), training.column("lr")
        if not ratios or median(ratios) < self.min_ratio or not rates or rates[-1] < 0.5 * max(rates):
            return None
        first, quarter, last = (training.smoothed_loss(part) for part in (0.0, 0.25, 1.0))
        if (
            training.normalized_accuracy(accuracy) >= self.min_learned
            or not first - quarter > (1 - self.max_late_drop) * (first - last) > 0
        ):
            return None
        return self._finding(
            severity="warning",
            measured={"first_loss": first, "quarter_loss": quarter, "loss": last, "accuracy": accuracy},
            expected="a loss that goes on falling, or a rate that is lowered",
            message=f"The loss fell from {first:.4g} to {quarter:.4g} in the first quarter and ends at {last:.4g}; "
            f"{accuracy:.1%} of the training examples are right, and a typical update is still {median(ratios):.2g} of "
            "the weights.",
            why="Steps of this length jump about the valley instead of going down into it.",
            remedy=(*lr_remedy(training.signals, 0.1), "schedule=one_cycle")[:2],
            source="lecture notes: loss going down quickly and reaching a plateau => high learning rate",
        )

    def _finding(self, **fields: Any) -> Finding:
        return Finding(check="loss_plateau", **fields)
