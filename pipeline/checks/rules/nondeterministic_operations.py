from __future__ import annotations

from dataclasses import dataclass

from pipeline.checks.finding import Finding
from pipeline.checks.rule import Rule
from pipeline.errors import list_names
from pipeline.signals.schema import Signals


@dataclass(frozen=True)
class NondeterministicOperations(Rule):
    """Anti-pattern: bits that should be the same each time, from operations that sum in another order each time.

    Fires when `trainer.deterministic=true`, and torch has no deterministic form of an operation of the training.
    """

    check = "nondeterministic_operations"
    reads = ("nondeterministic_operations",)
    needs = ("nondeterministic_operations|epochs_planned",)
    severities = ("warning",)
    why = (
        "Such a kernel adds numbers in the order in which threads arrive, and the sum of rounded numbers depends on it."
    )
    source = "PyTorch documentation, torch.use_deterministic_algorithms"
    advice = "Replace the operation by one that has a deterministic form, or accept other bits."
    code = "torch.use_deterministic_algorithms(True, warn_only=True)"

    def __call__(self, signals: Signals) -> Finding | None:
        operations = signals.get("nondeterministic_operations")
        if not operations:
            return None
        return self.finding(
            "warning",
            measured={"operations": float(len(operations))},
            expected="operations that torch can compute in a fixed order",
            message=f"trainer.deterministic=true cannot hold for {list_names(operations)}: two equal runs may end with "
            "other bits.",
            where=operations[0],
        )
