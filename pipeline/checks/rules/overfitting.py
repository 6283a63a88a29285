from __future__ import annotations

from dataclasses import dataclass

from pipeline.checks.finding import Finding
from pipeline.checks.log_curves import LogCurves
from pipeline.checks.rule import Rule
from pipeline.checks.training_curves import FINISHED_KEYS, GAP_KEYS, Training, standard_error
from pipeline.signals.schema import Signals
from pipeline.validation import integer, number


@dataclass(frozen=True)
class Overfitting(Rule):
    """Anti-pattern: examples that are memorized, where something general about them should have been learned.

    Fires when (1) training examples are learned, in evaluation mode, and validation examples are right no more often
    than by a guess (a failure); (2) training accuracy exceeds validation accuracy by more than `max_gap` and two
    standard errors of the difference, or `max_gap_few` with fewer than `few_per_class` training examples a class; or
    (3) there is a gap and the validation loss ends above `max_val_loss_rise` times its minimum (a hint; Prechelt's
    generalization loss). Where training examples were not measured in evaluation mode, their accuracy as trained counts
    in (2), which is hardly ever too high, and (3) is a warning if the accuracies are unknown or further apart than
    `max_gap`, as long as the training loss went on falling.

    Memorizing is no fault in itself: an unregularized network that is 100 % right on 5,000 training images and 86 % on
    others does what such a network can. So the gap has to be large, beyond what the sample could show by chance.
    """

    check = "overfitting"
    reads = (*FINISHED_KEYS, *GAP_KEYS, "l2", "dropout")
    needs = (
        *("not exploded", "not nonfinite", "not running", "epochs.loss"),
        "epochs.probe_accuracy|epochs.val_loss|epochs.val_accuracy",
    )
    severities = ("failure", "warning", "info")
    why = (
        "The network has more freedom than the examples can constrain, and fits their accidents. If no validation "
        "answer profits, the labels do not belong to the images, or the splits are prepared differently."
    )
    source = (
        "lecture notes: a big gap between training and validation accuracy is overfitting => increase regularization "
        "strength; Zhang et al. 2017, Understanding deep learning requires rethinking generalization; Prechelt 1998, "
        "Early Stopping - But When?"
    )
    remedies = ("regularization=l2_dropout", "regularization.dropout=...", "regularization.l2=...")
    advice = "Prepare both splits in the same way; then more examples, augmentation or weight decay close the gap."
    code = 'for group in optimizer.param_groups: group["weight_decay"] = 5e-4'
    explains = ("overtrained",)

    max_gap: float
    max_gap_few: float
    few_per_class: int
    max_val_loss_rise: float

    def __post_init__(self) -> None:
        number("max_gap", self.max_gap, above=0, below=1)
        number("max_gap_few", self.max_gap_few, above=0, at_most=self.max_gap)
        integer("few_per_class", self.few_per_class, at_least=1)
        number("max_val_loss_rise", self.max_val_loss_rise, above=1)

    def __call__(self, signals: Signals) -> Finding | None:
        training = Training.if_finished(signals)
        if training is None or not training.column("probe_accuracy"):
            return self._as_trained(signals)
        difference, probe, val = training.gap(), training.last("probe_accuracy"), training.last("val_accuracy")
        if difference is None or probe is None or val is None or not training.beats_chance():
            return None
        gap, error = difference
        accuracies = {"probe_accuracy": probe, "val_accuracy": val, "gap": gap, "standard_error": error}
        guess_error = standard_error(training.chance, signals["val_examples"])
        if val <= training.chance + 3 * guess_error and gap > 2 * error + 0.05:
            return self._memorized(training, accuracies)
        has_few = signals["train_examples"] < self.few_per_class * signals["classes"]
        allowed = self.max_gap_few if has_few else self.max_gap
        if gap > allowed + 2 * error:
            return self._large_gap(training, accuracies, allowed)
        return self._rising_loss(training, accuracies)

    def _memorized(self, training: Training, accuracies: dict[str, float]) -> Finding:
        probe, val = accuracies["probe_accuracy"], accuracies["val_accuracy"]
        return self.finding(
            "failure",
            measured=accuracies,
            expected=f"validation examples above the {training.chance:.1%} of a guess",
            message=f"{probe:.1%} of the training examples are right and {val:.1%} of the validation examples, no more "
            "than by a guess: the network has memorized these examples and learned nothing that holds for others.",
        )

    def _large_gap(self, training: Training, accuracies: dict[str, float], allowed: float) -> Finding:
        probe, val, error = (accuracies[key] for key in ("probe_accuracy", "val_accuracy", "standard_error"))
        return self.finding(
            "warning",
            measured=accuracies,
            expected=f"a gap of at most {allowed:g} and two standard errors ({2 * error:.3f})",
            message=f"{probe:.1%} of the training examples are right and {val:.1%} of the validation examples, after "
            f"training on {training.train_examples:,}.",
            remedy=_more_regularization(training.signals),
        )

    def _rising_loss(self, training: Training, accuracies: dict[str, float]) -> Finding | None:
        losses = training.column("val_loss")
        if not losses or not all(loss > 0 for loss in losses) or accuracies["gap"] <= 2 * accuracies["standard_error"]:
            return None
        lowest, last = min(losses), losses[-1]
        if last / lowest <= self.max_val_loss_rise:
            return None
        return self.finding(
            "info",
            measured=accuracies | {"least_val_loss": lowest, "val_loss": last},
            expected=f"a validation loss that ends below {self.max_val_loss_rise:g} x its minimum",
            message=f"The validation loss was {lowest:.4g} after epoch {losses.index(lowest) + 1} and is {last:.4g} at "
            "the end: the network becomes more certain of its wrong answers. Accuracy does not suffer from it, the "
            "probabilities do.",
            remedy=_more_regularization(training.signals),
        )

    def _as_trained(self, signals: Signals) -> Finding | None:
        """Judge a training whose training examples were not measured in evaluation mode, by what was logged."""
        curves = LogCurves.if_finished(signals)
        if curves is None:
            return None
        gap, error = curves.gap()
        examples, classes = signals.get("train_examples"), signals.get("classes")
        has_few = examples is not None and classes is not None and 0 < examples < self.few_per_class * classes
        allowed = self.max_gap_few if has_few else self.max_gap
        if gap > allowed + 2 * error:
            train, val = curves.accuracy[-1], curves.val_accuracy[-1]
            return self.finding(
                "warning",
                measured={"accuracy": train, "val_accuracy": val, "gap": gap, "standard_error": error},
                expected=f"a gap of at most {allowed:g} and two standard errors ({2 * error:.3f})",
                message=f"{train:.1%} of the training examples are right, as trained, and {val:.1%} of the validation "
                "examples.",
                remedy=_more_regularization(signals),
            )
        rise = curves.val_loss_rise()
        if rise is None or rise.ratio <= self.max_val_loss_rise:
            return None
        is_harmless = bool(curves.val_accuracy) and not gap > self.max_gap
        return self.finding(
            "info" if is_harmless else "warning",
            measured={"least_val_loss": rise.lowest, "val_loss": rise.last, "loss": curves.loss[-1]},
            expected=f"a validation loss that ends below {self.max_val_loss_rise:g} x its minimum",
            message=f"The validation loss was {rise.lowest:.4g} at evaluation {rise.lowest_at + 1} of "
            f"{len(curves.val_loss)} and is {rise.last:.4g} at the end, while the training loss fell on, to "
            f"{curves.loss[-1]:.4g}.",
            remedy=_more_regularization(signals),
        )


def _more_regularization(signals: Signals) -> tuple[str, ...]:
    """Return the remedy that turns on what is off, and turns up what is on."""
    l2, dropout = signals.get("l2") or 0.0, signals.get("dropout") or 0.0
    if l2 == 0 and dropout == 0:
        return ("regularization=l2_dropout",)
    stronger = 0.3 if dropout == 0 else min(dropout + 0.2, 0.6)
    if stronger > dropout:
        return (f"regularization.dropout={stronger:.2g}",)
    return (f"regularization.l2={max(l2, 1e-4) * 3:.2g}",)
