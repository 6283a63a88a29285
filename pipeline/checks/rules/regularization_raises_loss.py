from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

from pipeline.checks.finding import Finding
from pipeline.checks.rule import Rule
from pipeline.signals.schema import Signals


@dataclass(frozen=True)
class RegularizationRaisesLoss(Rule):
    """Anti-pattern: a penalty that is configured but reaches no weight.

    Fires when the total loss does not rise each time that the penalty is multiplied (by 1, 10, 100). Silent where no
    penalty is configured.
    """

    check = "regularization_raises_loss"
    reads = ("penalized_losses", "penalty_factors")
    severities = ("failure",)
    why = "The penalty does not reach the weights, so regularization.l2 has no effect on training."
    source = "lecture notes, step 3: crank up regularization, want to see the loss go up"
    advice = "Give the penalty to the optimizer, together with all weights."
    code = "optimizer = torch.optim.SGD(model.parameters(), lr=lr, weight_decay=5e-4)"

    def __call__(self, signals: Signals) -> Finding | None:
        totals = signals.get("penalized_losses")
        if not totals or (all(map(math.isfinite, totals)) and all(a < b for a, b in pairwise(totals))):
            return None
        rows = list(zip(signals["penalty_factors"], totals, strict=True))
        return self.finding(
            "failure",
            measured={f"loss_x{factor:g}": total for factor, total in rows},
            expected="a total loss that rises with the strength of regularization",
            message="More regularization does not raise the loss "
            f"({', '.join(f'x{factor:g}: {total:.6g}' for factor, total in rows)}).",
            step=0,
        )
