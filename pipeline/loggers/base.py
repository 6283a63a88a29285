"""What every log is: a `Logger`, chosen and validated with the configuration, opens a `Writer` when the run begins."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from numpy import ndarray

FOLDER = "logs"
"""Of all logs, in the run's directory."""


@dataclass(frozen=True)
class LoggedRun:
    """What a log has to know of the run."""

    name: str
    directory: Path
    config: Mapping[str, Any]
    """As composed, plain."""
    classes: Sequence[str] = ()
    resumed_from: Path | None = None
    """Directory of the run that this one resumes."""

    @property
    def logs(self) -> Path:
        return self.directory / FOLDER

    @property
    def title(self) -> str:
        """By which runs are told apart in a list: name/date_time_unique."""
        return f"{self.name}/{self.directory.resolve().name}"


class Writer(ABC):
    """One open log. What its library has no form for is left out. Any exception ends this log and nothing else.

    `state` is what a resumed run must know to go on with this log: plain data. A log that begins anew starts with an
    empty one and is given everything from the first epoch on.
    """

    histograms = False
    """Whether histograms are wanted."""

    def __init__(self, state: Mapping[str, Any] | None = None):
        self.state: dict[str, Any] = {"epochs": 0, "samples": 0, "stages": []} | dict(state or {})

    @abstractmethod
    def log_scalars(self, values: Mapping[str, float], step: int) -> None:
        """Scalars at an optimizer step."""

    def histogram(self, name: str, counts: ndarray, edges: ndarray, step: int) -> None:  # noqa: B027 - not every log
        """(n,) counts between (n + 1,) edges."""

    def log_image(self, name: str, pixels: ndarray, step: int) -> None:  # noqa: B027
        """(H, W, 3) uint8."""

    def flush(self) -> None:  # noqa: B027
        """After each epoch: what was written is on the disk."""

    @abstractmethod
    def close(self, status: str, scores: Mapping[str, float]) -> None:
        """`status`: passed, failed, error, interrupted, or mended: what follows is logged as another run.

        `scores`: the numbers by which runs are compared.
        """


class Logger(Protocol):
    """An option of the group `logger`."""

    def open(self, run: LoggedRun, before: Mapping[str, Any] | None) -> Writer:
        """`before`: the state that the resumed run left of this log, if it had one.

        Raises a `UserError` where the log cannot be written to at all.
        """
        ...
