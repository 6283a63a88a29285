from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import median

from pipeline.checks.finding import Finding
from pipeline.checks.layer_stats import NEAR_CHANCE
from pipeline.checks.not_checked import LOSS_NEEDS
from pipeline.checks.rule import Rule
from pipeline.checks.training_curves import (
    BEATS_CHANCE_KEYS,
    FINISHED_KEYS,
    MOST_UNEVEN,
    Training,
    is_augmented,
    lr_remedy,
)
from pipeline.signals.schema import Signals
from pipeline.validation import integer, number

CLEARLY_ABOVE = 0.1
"""Accuracy above chance that no guess has on a hundred validation examples or more."""


@dataclass(frozen=True)
class LossPlateau(Rule):
    """Anti-pattern: a run that continues although nothing improves, at chance or at a level that was reached at once.

    Fires when, after `min_steps` steps or more, (1) training accuracy does not exceed that of the most frequent class
    by five standard errors (a failure; silent where almost all examples have one class and the loss fell all the same;
    without an accuracy, the loss is not below chance), or (2) the loss made all but `max_late_drop` of its drop in the
    first quarter of the schedule, while normalized training accuracy is below `min_learned`, a typical update is at
    least `min_ratio` of the weights, and the learning rate was not lowered.
    """

    check = "loss_plateau"
    reads = (*FINISHED_KEYS, *BEATS_CHANCE_KEYS, "steps_per_entry", "samples", "chance_loss", "augmentation", "lr")
    needs = (*LOSS_NEEDS, "losses>=min_steps", "epochs.probe_accuracy|epochs.accuracy|chance_loss")
    severities = ("failure", "warning")
    why = (
        "At chance no gradient that tells one image from another reaches the weights: units are saturated, dead or "
        "copies of each other, signals fade with depth, or nothing in an image belongs to its label. At a level above "
        "it the steps are so long that they cross the valley instead of descending into it."
    )
    source = (
        "lecture notes: loss going down quickly and reaching a plateau => high learning rate; Karpathy, A Recipe for "
        "Training Neural Networks: the input-independent baseline must be beaten"
    )
    remedies = (
        "data.sampling=balanced",
        "init=he",
        "activation=relu",
        "batchnorm=before_activation",
        "augmentation=none",
        "optimizer.lr=...",
        "schedule=one_cycle",
    )
    advice = "Fit one batch first: a network that cannot is cut off from the images or from their labels."
    code = "for _ in range(1000): optimizer.zero_grad(); loss_fn(model(x), y).backward(); optimizer.step()"
    explains = ("update_ratio_high", "update_ratio_low", "undertrained", "underfitting")

    min_steps: int
    max_late_drop: float
    min_ratio: float
    min_learned: float

    def __post_init__(self) -> None:
        integer("min_steps", self.min_steps, at_least=20)
        number("max_late_drop", self.max_late_drop, above=0, below=1)
        number("min_ratio", self.min_ratio, above=0)
        number("min_learned", self.min_learned, above=0, at_most=1)

    def __call__(self, signals: Signals) -> Finding | None:
        training = Training.if_finished(signals, needs_classes=False)
        if training is None or training.steps < self.min_steps:
            return None
        accuracy = training.final_train_accuracy()
        if accuracy is None or math.isnan(training.chance):  # a log of another program, or targets
            return self._loss_at_chance(training)
        if training.beats_chance():
            return self._early_plateau(training, accuracy)
        if training.learns_rare_classes():
            return None
        return self._at_chance(training, accuracy)

    def _loss_at_chance(self, training: Training) -> Finding | None:
        """Judge by the loss alone; a validation accuracy that is above chance speaks against it."""
        loss, chance_loss = training.smoothed_loss(1.0), training.signals.get("chance_loss")
        val_accuracy = training.last("val_accuracy")
        is_above = val_accuracy is not None and val_accuracy > training.chance + CLEARLY_ABOVE
        if chance_loss is None or loss < NEAR_CHANCE * chance_loss or is_above:
            return None
        return self.finding(
            "failure",
            measured={"loss": loss, "chance_loss": chance_loss}
            | ({} if val_accuracy is None else {"val_accuracy": val_accuracy}),
            expected=f"a loss below {chance_loss:.4g}, which the classes' frequencies alone give",
            message=f"After {training.steps} steps the loss is {loss:.4g}, and knowing the classes' frequencies alone "
            f"gives {chance_loss:.4g}: the network never left chance.",
            remedy=("init=he", "activation=relu", "batchnorm=before_activation"),
        )

    def _at_chance(self, training: Training, accuracy: float) -> Finding:
        loss, chance_loss = training.smoothed_loss(1.0), training.signals.get("chance_loss")
        level = "" if chance_loss is None else f" (knowing the classes' frequencies alone gives {chance_loss:.4g})"
        return self.finding(
            "failure",
            measured={"accuracy": accuracy, "chance": training.chance, "loss": loss},
            expected=f"more than the {training.chance:.1%} of training examples that the most frequent class gives",
            message=f"After {training.steps} steps {accuracy:.1%} of the training examples are right and the loss is "
            f"{loss:.4g}{level}: the network never left chance.",
            remedy=("data.sampling=balanced",)
            if training.chance >= MOST_UNEVEN
            else (
                "init=he",
                "activation=relu",
                "batchnorm=before_activation",
                *(("augmentation=none",) if is_augmented(training.signals) else ()),
            ),
        )

    def _early_plateau(self, training: Training, accuracy: float) -> Finding | None:
        ratios, rates = training.median_update_ratios().values(), training.column("lr")
        if not ratios or median(ratios) < self.min_ratio or not rates or rates[-1] < 0.5 * max(rates):
            return None
        first, quarter, last = (training.smoothed_loss(progress) for progress in (0.0, 0.25, 1.0))
        if (
            training.normalized_accuracy(accuracy) >= self.min_learned
            or not first - quarter > (1 - self.max_late_drop) * (first - last) > 0
        ):
            return None
        return self.finding(
            "warning",
            measured={"first_loss": first, "quarter_loss": quarter, "loss": last, "accuracy": accuracy},
            expected="a loss that continues to fall, or a learning rate that is lowered",
            message=f"The loss fell from {first:.4g} to {quarter:.4g} in the first quarter and ends at {last:.4g}; "
            f"{accuracy:.1%} of the training examples are right, and a typical update is still {median(ratios):.2g} of "
            "the weights.",
            remedy=(*lr_remedy(training.signals, 0.1), "schedule=one_cycle"),
        )
