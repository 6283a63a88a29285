from __future__ import annotations

from dataclasses import dataclass

from pipeline.checks.consequences import FAILS_TO_GENERALIZE
from pipeline.checks.finding import Finding
from pipeline.checks.rule import Rule
from pipeline.errors import list_names
from pipeline.signals.schema import Signals
from pipeline.validation import number


@dataclass(frozen=True)
class RandomEvaluation(Rule):
    """Anti-pattern: dropout or noise that stays on in evaluation, such as `F.dropout(x, 0.5)` without `self.training`.

    Fires when two passes of the same inputs in evaluation mode differ by more than `min_spread` standard deviations of
    the outputs, and by more than four rounding errors; from `failure` on the answers themselves change.
    """

    check = "random_evaluation"
    reads = ("evaluation_spread", "repeated_spread", "evaluation_rounding", "random_operations", "changed_buffers")
    severities = ("failure", "warning")
    why = (
        "Evaluation then measures a damaged network, and the same checkpoint gives another score each time. Dropout in "
        "evaluation costs accuracy and makes validation look like overfitting. Where it is meant, as in Monte Carlo "
        "dropout, switch the check off: checks.rules.random_evaluation=null."
    )
    source = "torch.nn.functional.dropout: its default is training=True; Srivastava et al. 2014, section 4"
    advice = "Draw random numbers in training mode only."
    code = "x = F.dropout(x, p=0.5, training=self.training)"
    explains = (
        "batch_leak",
        "saturated_units",
        "over_regularized",
        "validation_above_training",
        *FAILS_TO_GENERALIZE,
    )

    min_spread: float
    failure: float

    def __post_init__(self) -> None:
        number("min_spread", self.min_spread, above=0)
        number("failure", self.failure, at_least=self.min_spread)

    def __call__(self, signals: Signals) -> Finding | None:
        drawn, repeated = signals.get("evaluation_spread"), signals.get("repeated_spread")
        if drawn is None or repeated is None:
            return None
        spread = max(drawn, repeated)
        if not spread > max(self.min_spread, 4 * signals.get("evaluation_rounding", 0.0)):
            return None
        operations, buffers = list(signals.get("random_operations", ())), list(signals.get("changed_buffers", ()))
        changes = f" It changes {list_names(buffers)}." if buffers else ""
        remembers = repeated > 0.5 * spread
        cause = f"It depends on the passes before.{changes}" if remembers else "It draws random numbers."
        if operations and not remembers:
            cause = f"It draws random numbers: {list_names(operations)}."
        return self.finding(
            "failure" if spread > self.failure else "warning",
            measured={"spread": float(spread), "repeated_spread": float(repeated)},
            expected=f"the same outputs, to within {self.min_spread:g} standard deviations",
            message=f"Two passes of the same inputs in evaluation mode differ by {spread:.3g} standard deviations of "
            f"the outputs. {cause}",
            where=None if remembers else _place(operations),
            step=0,
            advice="Let a pass in evaluation mode change nothing that the next one reads." if remembers else None,
            code="if self.training: self.calls += 1" if remembers else None,
        )


def _place(operations: list[str]) -> str | None:
    """Return the name of the module in which the first operation runs; None for the network itself."""
    place = operations[0].partition(" in ")[2] if operations else ""
    return place if place and place != "the network" else None
