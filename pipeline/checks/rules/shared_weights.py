from __future__ import annotations

from dataclasses import dataclass

from pipeline.checks.finding import Finding
from pipeline.checks.rule import Rule
from pipeline.errors import list_names
from pipeline.signals.schema import Signals


@dataclass(frozen=True)
class SharedWeights(Rule):
    """Anti-pattern: one layer object used in several places, `[layer] * 3`, where several layers were meant.

    Fires when a parameter has more than one name.
    """

    check = "shared_weights"
    reads = ("shared_parameters", "parameters")
    severities = ("warning",)
    why = (
        "Layers that share weights learn one function. Where that is not meant, the network has only the capacity of "
        "its distinct layers."
    )
    source = "Python: [layer] * n repeats the reference, not the layer"
    advice = "Build a new layer for each place."
    code = "layers = nn.ModuleList(nn.Linear(units, units) for _ in range(3))"
    explains = ("underfitting",)

    def __call__(self, signals: Signals) -> Finding | None:
        shared = signals.get("shared_parameters")
        if not shared:
            return None
        total = signals["parameters"]
        return self.finding(
            "warning",
            measured={"shared_parameters": float(len(shared)), "parameters": float(total)},
            expected="parameters that belong to one place each",
            message=f"{len(shared)} of {total} parameters occur in several places. The names of the first: "
            f"{list_names(shared[0], separator=' = ')}.",
            where=shared[0][0],
            step=0,
        )
