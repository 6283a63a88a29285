"""What is said about each check of two runs, and how it builds its finding."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.checks.finding import Finding, Severity

SIGMAS = 4
"""Standard errors of a difference; one false alarm in 30,000 normal samples."""
SOURCE = "comparison with the good run"
STAGE = "baseline"

Signals = Mapping[str, Any]
Check = Callable[[Signals, Signals], "Finding | str | None"]
"""Returns a finding, None where all is well, or why it cannot judge."""


@dataclass(frozen=True)
class BaselineDoc:
    """What is said about a check of two runs."""

    rule: str
    why: str
    advice: str


DOCS = {
    "baseline_rate": BaselineDoc(
        "Fires where the learning rates differ by more than a tenth at more than a twentieth of the points.",
        "Another learning rate is another training; whatever else differs may follow from it.",
        "Set the learning rate and its schedule as in the good run.",
    ),
    "baseline_gradients": BaselineDoc(
        "Fires where the typical gradient norm differs by more than a factor of three, and four standard errors.",
        "The loss, its scale, the inputs or the initialization is another one.",
        "Compare the loss function, its reduction, the scale of the inputs and the initialization.",
    ),
    "baseline_loss": BaselineDoc(
        "Fires where the training loss stays above the good one, at equal steps or epochs, by four standard errors and "
        "a twentieth of its whole drop; a lag of a fifth of the steps is allowed.",
        "At equal steps the good run had learned more from its training examples.",
        "Look at what changed between the two runs before the step at which the curves part.",
    ),
    "baseline_validation": BaselineDoc(
        "Fires where the best or the last validation score is worse than the good one by four standard errors and a "
        "hundredth (of a loss: a tenth of its whole drop).",
        "What was learned holds less for new examples than in the good run.",
        "Look at what changed in the data, the augmentation and the regularization between the two runs.",
    ),
    "baseline_speed": BaselineDoc(
        "Fires where a step takes more than twice as long, in the fastest epoch of each.",
        "The same training costs more time.",
        "Profile the loading of the data and the training step of both.",
    ),
    "baseline_length": BaselineDoc(
        "Fires where fewer than nine tenths of the good run's steps were made. All else is compared up to there.",
        "A shorter run has not had the time of the good one.",
        "Train as long as the good run.",
    ),
}


def baseline_finding(
    check: str, severity: Severity, *, measured: dict[str, float], expected: str, message: str, step: int | None = None
) -> Finding:
    doc = DOCS[check]
    return Finding(
        check=check,
        severity=severity,
        measured=measured,
        expected=expected,
        message=message,
        why=doc.why,
        remedy=(),
        source=SOURCE,
        step=step,
        stage=STAGE,
        advice=doc.advice,
    )
