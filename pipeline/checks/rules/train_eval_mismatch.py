from __future__ import annotations

from dataclasses import dataclass
from math import hypot, log
from typing import Any, ClassVar

from pipeline.checks.finding import Finding, Severity, Signals
from pipeline.checks.training_curves import Training, standard_error, to_floats
from pipeline.validation import number


@dataclass(frozen=True)
class TrainEvalMismatch:
    """Anti-pattern: a network that is another one when it is evaluated: batchnorm's running statistics that never
    arrived, a layer that asks `self.training`, inputs that are prepared differently.

    Rule: on the same training examples, the loss with running statistics is at most `warning` times that with the
    batch's (`info`: a hint, where it costs no right answers), unless the difference is below `min_loss_share` of
    chance's loss; and the accuracy in evaluation mode is at most `max_accuracy_drop`, and three standard errors, below
    that with the batch's statistics, and that of the last epoch as trained.
    """

    info: float
    warning: float
    min_loss_share: float
    max_accuracy_drop: float
    explains: ClassVar[tuple[str, ...]] = ("overfitting", "undertrained", "underfitting")

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
        keys = ("eval_loss", "batch_loss", "eval_accuracy", "batch_accuracy")
        evaluated, batch, right, batch_right = (to_floats([training.signals.get(key)])[0] for key in keys)
        chance = training.signals.get("chance_loss") or log(training.signals["classes"])
        dearer = evaluated - batch > self.min_loss_share * chance  # also where one was not measured and is NaN
        worse = batch_right - right > self.max_accuracy_drop + 3 * _error(training, batch_right, right)
        if not worse and not (dearer and evaluated > self.info * batch):
            return None
        return self._finding(
            training,
            (right, batch_right),
            severity="warning" if worse or evaluated > self.warning * batch else "info",
            measured={
                "eval_loss": evaluated,
                "batch_loss": batch,
                "eval_accuracy": right,
                "batch_accuracy": batch_right,
            },
            expected=f"an eval_loss of at most {self.warning:g} x batch_loss",
            message=f"The same training examples cost {evaluated:.4g} ({right:.1%} right) with batchnorm's running "
            f"statistics and {batch:.4g} ({batch_right:.1%}) with those of the batch.",
            why="The running statistics are an average over the last 1/momentum steps. With too few steps for that "
            "momentum, weights that change too fast, or inputs that are other ones in training, they belong to another "
            "network than the trained one.",
            remedy=("batchnorm.recompute=true", "batchnorm.momentum=0.1"),
            source="Ioffe & Szegedy 2015, Batch Normalization, section 3.1; torch's momentum is the new batch's weight",
        )

    def _modes(self, training: Training) -> Finding | None:
        trained, probe = training.last("accuracy"), training.last("probe_accuracy")
        if trained is None or probe is None:
            return None
        error = _error(training, trained, probe)
        if trained - probe <= self.max_accuracy_drop + 3 * error:
            return None
        return self._finding(
            training,
            (probe, trained),
            severity="warning",
            measured={"accuracy": trained, "probe_accuracy": probe, "standard_error": error},
            expected=f"training examples in evaluation mode at most {self.max_accuracy_drop:g} worse than as trained",
            message=f"Training examples are {trained:.1%} right as trained in the last epoch and {probe:.1%} right in "
            "evaluation mode.",
            why="Evaluation has neither dropout nor augmentation and should be easier; the network does something else "
            "there: look for self.training, running statistics, and inputs that are prepared differently.",
            remedy=("batchnorm.recompute=true", "batchnorm.momentum=0.1")
            if training.signals.get("batchnorm_layers")
            else (),
            source="torch.nn.Module.train and eval: what may differ is dropout and batchnorm's statistics",
        )

    def _finding(self, training: Training, right: tuple[float, float], *, severity: Severity, **fields: Any) -> Finding:
        """A failure where the network guesses in evaluation mode, though it has learned in training mode."""
        evaluated, trained = (training.normalized_accuracy(accuracy) for accuracy in right)
        severity = "failure" if evaluated < 0.1 and trained > 0.3 else severity
        return Finding(check="train_eval_mismatch", severity=severity, **fields)


def _error(training: Training, *shares: float) -> float:
    """Standard error of the difference of two shares of the probe; those of a whole epoch are more exact than that."""
    return hypot(*(standard_error(share, training.probe_examples) for share in shares))
