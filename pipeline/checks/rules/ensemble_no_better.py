from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pipeline.checks.finding import Finding, Signals


@dataclass(frozen=True)
class EnsembleNoBetter:
    """Anti-pattern: several networks that cost several times as much to ask and answer no better than one.

    Rule: the ensemble is right more often than the best of its members (a hint otherwise: the best of several is
    lucky), and more often than they are on average, unless nothing is left to win.
    """

    explains: ClassVar[tuple[str, ...]] = ()

    def __call__(self, signals: Signals) -> Finding | None:
        together, alone = signals.get("ensemble_accuracy"), signals.get("member_accuracies")
        if together is None or not alone or together > max(alone) or min(alone) >= 1:
            return None
        mean = sum(alone) / len(alone)
        differ = signals.get("disagreement", 1.0)
        useless = together <= mean
        said = f"The ensemble has {together:.4f} of the validation examples right, its members {mean:.4f} on "
        return Finding(
            check="ensemble_no_better",
            severity="warning" if useless else "info",
            measured={"ensemble_accuracy": together, "mean_accuracy": mean, "best_accuracy": max(alone),
                      "disagreement": differ},
            expected="an ensemble that is right more often than each of its members",
            message=f"{said}average and the best {max(alone):.4f}; they disagree on {differ:.1%}.",
            why="An average is better than its parts where they err differently: where the members agree there is "
            "nothing to vote on, and a much weaker member outvotes the others.",
            remedy=(),
            source="Lakshminarayanan et al. 2017, Simple and Scalable Predictive Uncertainty Estimation, section 2.4",
        )  # fmt: skip
