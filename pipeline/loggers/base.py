"""The two interfaces of a logger: a `Logger` is its configuration, and opens a `Writer` when the run begins.

A new logger is a file here with both classes, an option in `conf/logger/`, and an extra in pyproject.toml.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from numpy import ndarray

FOLDER = "logs"
"""Directory of all loggers, inside the run's directory."""


@dataclass(frozen=True)
class LoggedRun:
    """What loggers need to know about a run."""

    name: str
    directory: Path
    config: Mapping[str, Any]
    """The composed configuration as plain data."""
    classes: Sequence[str] = ()
    """Names of the classes."""
    resumed_from: Path | None = None
    """Directory of the run that this one resumes."""
    logged_metrics: Mapping[str, Sequence[str] | None] = field(default_factory=dict)
    """Which metrics of a stage are logged, by the stage's name; None or no entry: all numbers among them."""

    @property
    def logs(self) -> Path:
        """Directory of the run's loggers."""
        return self.directory / FOLDER

    @property
    def title(self) -> str:
        """Name of the run in a list of runs: `<name>/<date>_<time>_<unique>`."""
        return f"{self.name}/{self.directory.resolve().name}"


class Writer(ABC):
    """An open logger. A method for a kind of data that the library has no form for does nothing.

    Any exception of a method disables this logger and leaves the run alone. `state` is plain data that a resumed run
    needs to continue this logger; a logger that starts empty is given everything from the first epoch on.
    """

    histograms = False
    """Whether `log_histogram` is to be called."""

    def __init__(self, state: Mapping[str, Any] | None = None):
        self.state: dict[str, Any] = {"epochs": 0, "samples": 0, "stages": []} | dict(state or {})

    @abstractmethod
    def log_scalars(self, values: Mapping[str, float], step: int) -> None:
        """Log numbers at an optimizer step."""

    def log_histogram(self, name: str, counts: ndarray, edges: ndarray, step: int) -> None:  # noqa: B027 - optional
        """Log a histogram: (n,) counts between (n + 1,) edges."""

    def log_image(self, name: str, pixels: ndarray, step: int) -> None:  # noqa: B027 - optional
        """Log an image: (H, W, 3) uint8."""

    def flush(self) -> None:  # noqa: B027 - optional
        """Write what was logged to the disk. Called after each epoch."""

    @abstractmethod
    def close(self, status: str, scores: Mapping[str, float]) -> None:
        """Finish the log.

        `status` is passed, failed, error, interrupted, or superseded if a remedy continues as a log of its own.
        `scores` are the numbers by which runs are compared.
        """


class Logger(ABC):
    """An option of the group `logger`: validated with the configuration, opened when the run begins."""

    quiet_modules: ClassVar[tuple[str, ...]] = ()
    """Packages whose warnings are hidden while the logger is open, since a user cannot act on them."""

    @abstractmethod
    def open(self, run: LoggedRun, state: Mapping[str, Any] | None) -> Writer:
        """Begin the log, or continue one with the `state` that the resumed run saved.

        Raise `UserError` if nothing can be logged at all.
        """
