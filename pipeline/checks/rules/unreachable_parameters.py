from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pipeline.checks.consequences import FAILS_TO_GENERALIZE
from pipeline.checks.finding import Finding, Signals


@dataclass(frozen=True)
class UnreachableParameters:
    """Anti-pattern: a layer that is defined and never used, detached, or dead from the start.

    Rule: every trainable parameter receives a gradient that is not exactly zero, at the first step or, at the latest,
    after a short fit (a residual branch that starts at zero wakes up then).
    """

    explains: ClassVar[tuple[str, ...]] = ("frozen_weights", *FAILS_TO_GENERALIZE)

    def __call__(self, signals: Signals) -> Finding | None:
        names = signals.get("zero_gradients")
        if not names:
            return None
        total = signals["trainable_parameters"]
        every = len(names) == total
        return Finding(
            check="unreachable_parameters",
            severity="failure",
            measured={"without_gradient": float(len(names)), "parameters": float(total)},
            expected="a finite, non-zero gradient for every trainable parameter",
            message=f"{len(names)} of {total} trainable parameters get no gradient: "
            f"{', '.join(names[:4])}{' ...' if len(names) > 4 else ''}.",
            why="A parameter without gradient never learns: its layer is unused, detached from the loss, "
            "or every unit behind it is off.",
            remedy=("init=he",) if every else (),
            source="backpropagation: no path to the loss, no gradient",
            where=names[0],
            step=0,
        )
