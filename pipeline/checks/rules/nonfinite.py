from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pipeline.checks.consequences import FAILS_TO_GENERALIZE
from pipeline.checks.finding import Finding, Signals
from pipeline.checks.training_curves import lr_remedy


@dataclass(frozen=True)
class NonFinite:
    """Anti-pattern: training on after a NaN or an infinity. Rule: every loss and every gradient is finite."""

    explains: ClassVar[tuple[str, ...]] = (
        "initial_loss",
        "regularization_raises_loss",
        "input_ignored",
        "unreachable_parameters",
        "frozen_weights",
        *FAILS_TO_GENERALIZE,
    )

    def __call__(self, signals: Signals) -> Finding | None:
        where = signals.get("nonfinite")
        if not where:
            return None
        while_training = signals.get("nonfinite_step") is not None
        return Finding(
            check="nonfinite",
            severity="failure",
            measured={"places": float(len(where))},
            expected="finite numbers",
            message=f"NaN or infinite: {', '.join(where[:3])}{' and more' if len(where) > 3 else ''}.",
            why="One NaN spreads to every weight in a single update; nothing after it means anything.",
            remedy=lr_remedy(signals, 0.1) if while_training else ("init=he",),
            source="IEEE 754 arithmetic",
            where=where[0],
            step=signals.get("nonfinite_step"),
        )
