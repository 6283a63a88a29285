from __future__ import annotations

from dataclasses import dataclass

from pipeline.checks.finding import Finding
from pipeline.checks.rule import Rule
from pipeline.signals.schema import Signals


@dataclass(frozen=True)
class LrRangeFlat(Rule):
    """Anti-pattern: a learning-rate range test whose range misses every useful rate, or of a network that cannot learn.

    Fires when the smoothed loss of the range test never falls 2 % below its first value. The finding is called
    rate_too_low.
    """

    check = "rate_too_low"
    reads = ("proposed_lr", "first_loss", "best_loss", "highest_lr")
    needs = ("best_loss",)
    severities = ("failure",)
    why = "No gradient reaches the weights, or the range misses every useful rate."
    source = "Smith 2017, Cyclical Learning Rates"
    remedies = ("stages.lr_range.high=...", "init=he")
    advice = (
        "Try a wider range of rates; if none of them lowers the loss, look for what keeps the gradient from the "
        "weights."
    )
    code = "rates = torch.logspace(-6, 2, steps)"

    def __call__(self, signals: Signals) -> Finding | None:
        if "proposed_lr" not in signals or signals["proposed_lr"] is not None:
            return None
        return self.finding(
            "failure",
            measured={"first_loss": signals["first_loss"], "best_loss": signals["best_loss"]},
            expected="a loss that falls by 2 % or more somewhere in the range",
            message="The loss did not fall at any rate of the range.",
            remedy=(f"stages.lr_range.high={10 * signals['highest_lr']:g}", "init=he"),
        )
