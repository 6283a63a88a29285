from __future__ import annotations

from dataclasses import dataclass

from pipeline.checks.consequences import FAILS_TO_GENERALIZE
from pipeline.checks.finding import Finding
from pipeline.checks.rule import Rule
from pipeline.checks.training_curves import lr_remedy
from pipeline.errors import list_names
from pipeline.signals.schema import Signals


@dataclass(frozen=True)
class NonFinite(Rule):
    """Anti-pattern: training on after a NaN or an infinity.

    Fires when a loss or a gradient is not finite.
    """

    check = "nonfinite"
    reads = ("nonfinite", "nonfinite_step", "lr")
    needs = ("nonfinite|first_loss|losses|epochs.loss",)  # which only a stage that met a NaN has
    severities = ("failure",)
    why = "One NaN spreads to every weight in a single update; nothing after it means anything."
    source = "IEEE 754 arithmetic"
    remedies = ("init=he", "optimizer.lr=...")
    advice = (
        "Find the operation that gives the first NaN: a logarithm or a root of zero, a division by zero, or "
        "numbers too large for half precision."
    )
    code = "torch.autograd.set_detect_anomaly(True)"
    explains = (
        "initial_loss",
        "regularization_raises_loss",
        "input_ignored",
        "unreachable_parameters",
        "frozen_weights",
        *FAILS_TO_GENERALIZE,
    )

    def __call__(self, signals: Signals) -> Finding | None:
        where, step = signals.get("nonfinite"), signals.get("nonfinite_step")
        if not where:
            return None
        return self.finding(
            "failure",
            measured={"places": float(len(where))},
            expected="finite numbers",
            message=f"NaN or infinite: {list_names(where)}.",
            remedy=lr_remedy(signals, 0.1) if step is not None else ("init=he",),
            where=where[0],
            step=step,
        )
