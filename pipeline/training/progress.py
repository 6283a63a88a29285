"""How a stage says how far it is."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Receives how far a stage is, the unit it counts in (empty: a fraction without a rate), and its newest numbers."""

    def __call__(self, done: float, total: float, *, unit: str = "steps", **numbers: float) -> None: ...
