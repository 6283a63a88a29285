from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pipeline.checks.finding import Finding, Signals


@dataclass(frozen=True)
class SharedWeights:
    """Anti-pattern: one layer object put in several places, `[layer] * 3`, where several layers were meant.

    Rule: every parameter has one name.
    """

    explains: ClassVar[tuple[str, ...]] = ("underfitting",)

    def __call__(self, signals: Signals) -> Finding | None:
        shared = signals.get("shared_parameters")
        if not shared:
            return None
        return Finding(
            check="shared_weights",
            severity="warning",
            measured={"shared_parameters": float(len(shared)), "parameters": float(signals["parameters"])},
            expected="parameters that belong to one place each",
            message=f"{len(shared)} of {signals['parameters']} parameters stand in several places: "
            f"{' = '.join(shared[0][:3])}{' ...' if len(shared) > 1 or len(shared[0]) > 3 else ''}.",
            why="Layers that share weights learn one function; where that is not meant, the network is as poor as it "
            "has distinct layers.",
            remedy=(),
            source="Python: [layer] * n repeats the reference, not the layer",
            where=shared[0][0],
            step=0,
        )
