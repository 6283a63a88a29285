from __future__ import annotations

from dataclasses import dataclass

from pipeline.checks.consequences import FAILS_TO_GENERALIZE
from pipeline.checks.finding import Finding
from pipeline.checks.rule import Rule, list_names
from pipeline.signals.schema import Signals


@dataclass(frozen=True)
class UnreachableParameters(Rule):
    """Anti-pattern: a layer that is defined and never used, detached, or dead from the start.

    Fires when a trainable parameter has a gradient of exactly zero, or none, at the first step and also after a short
    fit (with which a residual branch that starts at zero gets its gradient).
    """

    check = "unreachable_parameters"
    reads = ("zero_gradients", "trainable_parameters")
    severities = ("failure",)
    why = (
        "A parameter without gradient never learns: its layer is unused, detached from the loss, or every unit behind "
        "it is off."
    )
    source = "backpropagation: no path to the loss, no gradient"
    remedies = ("init=he",)
    explains = ("frozen_weights", *FAILS_TO_GENERALIZE)

    def __call__(self, signals: Signals) -> Finding | None:
        names = signals.get("zero_gradients")
        if not names:
            return None
        total = signals["trainable_parameters"]
        return self.finding(
            "failure",
            measured={"without_gradient": float(len(names)), "parameters": float(total)},
            expected="a finite, non-zero gradient for every trainable parameter",
            message=f"{len(names)} of {total} trainable parameters get no gradient: {list_names(names)}.",
            remedy=self.remedies if len(names) == total else (),
            where=names[0],
            step=0,
        )
