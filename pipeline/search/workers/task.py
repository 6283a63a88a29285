"""What a worker is given to do. Apart from running it, which needs torch: whoever gives it out does not."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Task:
    """What a worker is to do: a trial, or with `sanity` the stages before any trial."""

    config: dict[str, Any]
    overrides: tuple[str, ...]
    directory: Path | None
    """None: leaves no record."""
    metric: str
    report: bool = False
    """Whether to ask after each epoch if going on is hopeless."""
    sanity: bool = False
    flags: tuple[str, ...] = ()
    """Of the command that repeats it, before the overrides."""

    @property
    def words(self) -> tuple[str, ...]:
        return *self.flags, *self.overrides
