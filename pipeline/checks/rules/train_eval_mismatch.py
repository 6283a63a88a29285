from __future__ import annotations

from dataclasses import dataclass
from math import hypot, log

from pipeline.checks.finding import Finding, Severity
from pipeline.checks.not_checked import FINISHED_NEEDS
from pipeline.checks.rule import Rule
from pipeline.checks.training_curves import FINISHED_KEYS, Training, standard_error, to_float
from pipeline.signals.schema import Signals
from pipeline.validation import number

MIN_STEPS = 10
"""1/momentum of torch's batchnorm: after fewer steps more than a third (0.9^10) of the running statistics are still the
initial values, so that a difference is no sign of a mistake."""


@dataclass(frozen=True)
class TrainEvalMismatch(Rule):
    """Anti-pattern: a network that behaves differently in evaluation: batchnorm's running statistics that never
    converged, a layer that depends on `self.training`, inputs that are prepared differently.

    Fires when, on the same training examples, (1) the loss with batchnorm's running statistics is more than `warning`
    times that with the batch's statistics (`info` from `info` on), and their difference is more than `min_loss_share`
    of the chance loss; (2) accuracy with the running statistics is more than `max_accuracy_drop` and three standard
    errors below that with the batch's; or (3) accuracy in evaluation mode is as far below that of the last epoch as
    trained. It is a failure where the network guesses in evaluation mode though it has learned in training mode; with
    batchnorm at most a warning after fewer than ten steps, whose running statistics are those of the init by a third.
    """

    check = "train_eval_mismatch"
    reads = (
        *FINISHED_KEYS,
        "probe_examples",
        "train_examples",
        "eval_loss",
        "batch_loss",
        "eval_accuracy",
        "batch_accuracy",
        "chance_loss",
        "batchnorm_layers",
    )
    needs = (*FINISHED_NEEDS, "eval_loss|epochs.probe_accuracy")
    severities = ("failure", "warning", "info")
    why = (
        "Evaluation should be easier, without dropout and augmentation. Batchnorm's running statistics average over "
        "the last 1/momentum steps: with too few steps, or weights that change too fast, they belong to another "
        "network than the trained one. Look also for self.training, and for inputs that are prepared differently."
    )
    source = (
        "Ioffe & Szegedy 2015, Batch Normalization, section 3.1; torch's momentum is the new batch's weight; "
        "torch.nn.Module.train and eval: what may differ is dropout and batchnorm's statistics"
    )
    remedies = ("batchnorm.recompute=true", "batchnorm.momentum=0.1")
    advice = (
        "Compute batchnorm's statistics anew after training, and prepare the inputs of training and evaluation in "
        "the same way."
    )
    code = "torch.optim.swa_utils.update_bn(train_loader, model)"
    explains = ("overfitting", "undertrained", "underfitting")

    info: float
    warning: float
    min_loss_share: float
    max_accuracy_drop: float

    def __post_init__(self) -> None:
        number("info", self.info, above=1)
        number("warning", self.warning, at_least=self.info)
        number("min_loss_share", self.min_loss_share, above=0)
        number("max_accuracy_drop", self.max_accuracy_drop, above=0, below=1)

    def __call__(self, signals: Signals) -> Finding | None:
        training = Training.if_finished(signals)
        if training is None:
            return None
        return self._statistics(training) or self._modes(training)

    def _statistics(self, training: Training) -> Finding | None:
        signals = training.signals
        eval_loss, batch_loss = to_float(signals.get("eval_loss")), to_float(signals.get("batch_loss"))
        accuracy, batch_accuracy = to_float(signals.get("eval_accuracy")), to_float(signals.get("batch_accuracy"))
        chance_loss = signals.get("chance_loss") or log(signals["classes"])
        has_higher_loss = eval_loss - batch_loss > self.min_loss_share * chance_loss  # false where one is NaN
        drop_error = _error(training, batch_accuracy, accuracy)
        is_worse = batch_accuracy - accuracy > self.max_accuracy_drop + 3 * drop_error
        if not is_worse and not (has_higher_loss and eval_loss > self.info * batch_loss):
            return None
        return self.finding(
            _severity(training, accuracy, batch_accuracy)
            or ("warning" if is_worse or eval_loss > self.warning * batch_loss else "info"),
            measured={
                "eval_loss": eval_loss,
                "batch_loss": batch_loss,
                "eval_accuracy": accuracy,
                "batch_accuracy": batch_accuracy,
            },
            expected=f"an eval_loss of at most {self.warning:g} x batch_loss",
            message=f"The same training examples have a loss of {eval_loss:.4g} ({accuracy:.1%} right) with "
            f"batchnorm's running statistics and {batch_loss:.4g} ({batch_accuracy:.1%}) with those of the batch.",
            remedy=self.remedies,
        )

    def _modes(self, training: Training) -> Finding | None:
        trained, probe = training.last("accuracy"), training.last("probe_accuracy")
        if trained is None or probe is None:
            return None
        error = _error(training, trained, probe)
        if trained - probe <= self.max_accuracy_drop + 3 * error:
            return None
        return self.finding(
            _severity(training, probe, trained) or "warning",
            measured={"accuracy": trained, "probe_accuracy": probe, "standard_error": error},
            expected=f"training examples in evaluation mode at most {self.max_accuracy_drop:g} worse than as trained",
            message=f"Training examples are {trained:.1%} right as trained in the last epoch and {probe:.1%} right in "
            "evaluation mode.",
            remedy=self.remedies if training.signals.get("batchnorm_layers") else (),
        )


def _severity(training: Training, evaluated: float, trained: float) -> Severity | None:
    """Return "failure" for a network that guesses in evaluation mode though it has learned in training mode.

    None where batchnorm has made fewer than `MIN_STEPS` steps, in which its running statistics cannot have arrived.
    """
    steps = max(training.column("step"), default=len(training.losses))
    if training.signals.get("batchnorm_layers") and steps < MIN_STEPS:
        return None
    has_learned = training.normalized_accuracy(trained) > 0.3
    return "failure" if has_learned and training.normalized_accuracy(evaluated) < 0.1 else None


def _error(training: Training, *shares: float) -> float:
    """Return the standard error of the difference of two shares of the probe; a whole epoch's is more exact."""
    return hypot(*(standard_error(share, training.probe_examples) for share in shares))
