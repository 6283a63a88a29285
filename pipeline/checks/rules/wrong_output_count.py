from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pipeline.checks.consequences import AT_INIT, FAILS_TO_GENERALIZE, LEARNING_RATE
from pipeline.checks.finding import Finding, Signals


@dataclass(frozen=True)
class WrongOutputCount:
    """Anti-pattern: a network whose output is not one number per class, such as one sigmoid unit for ten classes.

    Rule: the output's shape is (N, C).
    """

    explains: ClassVar[tuple[str, ...]] = (
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
        return Finding(
            check="wrong_output_count",
            severity="failure",
            measured={"outputs": float(shape[-1]) if len(shape) > 1 else 1.0, "classes": float(classes)},
            expected=f"an output of shape ({examples}, {classes}): one logit per class",
            message=f"The network's output has shape {tuple(shape)} for {examples} examples of {classes} classes.",
            why="Without exactly one logit per class the loss either cannot be computed or compares the wrong numbers.",
            remedy=(),
            source="the head of Stack Overflow 62068109, 58844149",
        )
