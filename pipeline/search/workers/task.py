"""A worker's task. It is apart from the code that runs it, which imports torch: the scheduler does without."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Task:
    """A trial to run, or with `is_sanity_check` the stage `sanity` of the search's configuration."""

    config: dict[str, Any]
    overrides: tuple[str, ...]
    directory: Path | None
    """The directory to write; None: the trial writes nothing."""
    metric: str
    asks_pruner: bool = False
    """Whether the trial asks after each epoch if it is to stop."""
    is_sanity_check: bool = False
    flags: tuple[str, ...] = ()
    """Flags of the command that repeats the trial, before the overrides."""

    @property
    def arguments(self) -> tuple[str, ...]:
        """The arguments of the command that repeats the trial."""
        return *self.flags, *self.overrides
