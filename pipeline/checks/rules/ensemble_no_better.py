from __future__ import annotations

from dataclasses import dataclass

from pipeline.checks.finding import Finding
from pipeline.checks.rule import Rule
from pipeline.signals.schema import Signals


@dataclass(frozen=True)
class EnsembleNoBetter(Rule):
    """Anti-pattern: several networks that cost several times as much to evaluate and answer no better than one.

    Fires when the ensemble is right no more often than the best of its members, unless every member is always right.
    It is `info` as long as the ensemble beats the members' mean, since the best of several is also lucky.
    """

    check = "ensemble_no_better"
    reads = ("ensemble_accuracy", "member_accuracies", "disagreement")
    severities = ("warning", "info")
    why = (
        "An average is better than its parts where they err differently. Where the members agree there is nothing to "
        "average out, and a much weaker member outvotes the others."
    )
    source = "Lakshminarayanan et al. 2017, Simple and Scalable Predictive Uncertainty Estimation, section 2.4"
    advice = "Train the members with different seeds, and leave out weak ones."
    code = "torch.manual_seed(member)"

    def __call__(self, signals: Signals) -> Finding | None:
        together, members = signals.get("ensemble_accuracy"), signals.get("member_accuracies")
        if together is None or not members or together > max(members) or min(members) >= 1:
            return None
        mean, best = sum(members) / len(members), max(members)
        disagreement = signals.get("disagreement", 1.0)
        return self.finding(
            "warning" if together <= mean else "info",
            measured={
                "ensemble_accuracy": together,
                "mean_accuracy": mean,
                "best_accuracy": best,
                "disagreement": disagreement,
            },
            expected="an ensemble that is right more often than each of its members",
            message=f"The ensemble has {together:.4f} of the validation examples right, its members {mean:.4f} on "
            f"average and the best {best:.4f}; they disagree on {disagreement:.1%}.",
        )
