from dataclasses import dataclass

from pipeline.checks import Finding, Rule, Signals


@dataclass(frozen=True)
class AccuracyNeeded(Rule):
    """Anti-pattern: a network that is worse than its users need.

    Fires when no epoch reaches `min_accuracy` on the validation split.
    """

    check, severities = "accuracy_needed", ("failure",)
    reads, needs = ("epochs",), ("epochs.val_accuracy",)
    why, source = "Below this, sorting by hand is cheaper.", "the contract with our users"
    min_accuracy: float

    def __call__(self, signals: Signals) -> Finding | None:
        best = max(signals["epochs"].get("val_accuracy", [1.0]))
        if signals.get("running") or best >= self.min_accuracy:
            return None
        found, wanted = {"val_accuracy": best}, f"at least {self.min_accuracy}"
        return self.finding("failure", measured=found, expected=wanted, message=f"The best epoch has {best:.3f}.")
