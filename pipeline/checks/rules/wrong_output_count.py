from __future__ import annotations

from dataclasses import dataclass

from pipeline.checks.consequences import AT_INIT, FAILS_TO_GENERALIZE, LEARNING_RATE
from pipeline.checks.finding import Finding
from pipeline.checks.rule import Rule
from pipeline.signals.schema import Signals

_WORDS = {
    "classification": ("logit", "class", "classes"),
    "multilabel": ("logit", "label", "labels"),
    "regression": ("number", "target", "targets"),
}
"""What an output is called in each task, and what there is one of for each."""


@dataclass(frozen=True)
class WrongOutputCount(Rule):
    """Anti-pattern: a network whose output is not one number per class, such as one sigmoid unit for ten classes.

    Fires when the output's shape is not (examples, classes), where several labels, or targets, count as classes.
    """

    check = "wrong_output_count"
    reads = ("output_shape", "classes", "examples", "task")
    severities = ("failure",)
    why = "Without exactly one number per class or target the loss cannot be computed, or compares the wrong numbers."
    source = "Stack Overflow 62068109, 58844149"
    advice = "Let the last layer return one number for each class, label or target."
    code = "model.output = nn.Linear(features, classes)"
    explains = (
        "batch_leak",
        "output_activation",
        "loss_disagrees",
        "symmetric_units",
        *AT_INIT,
        *LEARNING_RATE,
        *FAILS_TO_GENERALIZE,
    )

    def __call__(self, signals: Signals) -> Finding | None:
        if "output_shape" not in signals:
            return None
        shape, classes, examples = signals["output_shape"], signals["classes"], signals["examples"]
        if list(shape) == [examples, classes]:
            return None
        output, one, several = _WORDS[signals.get("task", "classification")]
        return self.finding(
            "failure",
            measured={"outputs": float(shape[-1]) if len(shape) > 1 else 1.0, "classes": float(classes)},
            expected=f"an output of shape ({examples}, {classes}): one {output} per {one}",
            message=f"The network's output has shape {tuple(shape)} for {examples} examples "
            f"{'of' if several == 'classes' else 'with'} {classes} {one if classes == 1 else several}.",
        )
