from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

from pipeline.checks.finding import Finding, Signals


@dataclass(frozen=True)
class RegularizationRaisesLoss:
    """Anti-pattern: a penalty that is configured but reaches no weight.

    Rule: with the penalty times 1, 10, 100 the total loss rises each time. Silent where no penalty is configured.
    """

    explains: ClassVar[tuple[str, ...]] = ()

    def __call__(self, signals: Signals) -> Finding | None:
        totals = signals.get("penalized_losses")
        if not totals or (all(map(math.isfinite, totals)) and all(a < b for a, b in pairwise(totals))):
            return None
        factors = signals["penalty_factors"]
        rows = ", ".join(f"x{f:g}: {t:.6g}" for f, t in zip(factors, totals, strict=True))
        return Finding(
            check="regularization_raises_loss",
            severity="failure",
            measured={f"loss_x{f:g}": t for f, t in zip(factors, totals, strict=True)},
            expected="a total loss that rises with the strength of regularization",
            message=f"Cranking up regularization does not raise the loss ({rows}).",
            why="The penalty does not reach the weights, so regularization.l2 has no effect on training.",
            remedy=(),
            source="lecture notes, step 3: crank up regularization, want to see the loss go up",
            step=0,
        )
