from __future__ import annotations

from dataclasses import dataclass

from pipeline.checks.consequences import AT_INIT, FAILS_TO_GENERALIZE, LEARNING_RATE
from pipeline.checks.finding import Finding
from pipeline.checks.rule import Rule
from pipeline.signals.schema import Signals


@dataclass(frozen=True)
class SymmetricUnits(Rule):
    """Anti-pattern: W = 0, or any constant. "All neurons will do the same thing (same gradient, same output)."

    Fires when all units of a layer share both their weights and their gradient.
    """

    check = "symmetric_units"
    reads = ("symmetric_layers", "weight_layers")
    severities = ("failure",)
    why = (
        "Equal weights give equal outputs and equal gradients, so every update keeps the units equal; the layer is "
        "worth a single unit however wide it is."
    )
    source = "lecture notes, weight initialization: what if W=0"
    remedies = ("init=he",)
    advice = "Draw the weights at random."
    code = "nn.init.kaiming_normal_(layer.weight)"
    explains = ("regularization_raises_loss", *AT_INIT, *LEARNING_RATE, *FAILS_TO_GENERALIZE)

    def __call__(self, signals: Signals) -> Finding | None:
        layers = signals.get("symmetric_layers")
        if not layers:
            return None
        total = signals["weight_layers"]
        return self.finding(
            "failure",
            measured={"symmetric_layers": float(len(layers)), "layers": float(total)},
            expected="units of a layer that differ in weights or gradient",
            message=f"In {len(layers)} of {total} layers all units have the same weights and the same gradient: they "
            "will stay copies of each other.",
            remedy=self.remedies,
            where=layers[0],
        )
