"""The line that moves while a stage runs: progress, speed, remaining time, and the newest numbers."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

WIDE, MEDIUM = 100, 72
"""Columns of a terminal that has room for everything, and for a short bar with the newest numbers."""
SHORT_NAMES = {"val_accuracy": "val", "val_loss": "val loss"}
"""Shorter names of numbers."""
REFRESH_PER_SECOND = 2
"""Drawing takes 1.7 ms of a core, for which the training's other cores wait. At 5 times a second it cost 2 % of a
convolutional network's step (docs/LOG.md)."""


class SpeedColumn(ProgressColumn):
    """The speed over the last half minute, such as `412 steps/s`; empty for a stage without a unit."""

    def render(self, task: Task) -> Text:
        """Return the text of the column."""
        unit = task.fields["unit"]
        if not unit or not task.speed:
            return Text("")
        return Text(f"{task.speed:,.0f} {unit}/s" if task.speed >= 10 else f"{task.speed:.2g} {unit}/s", "dim")


class StageProgress:
    """A progress bar that disappears when it is stopped."""

    def __init__(self, name: str, *, console: Console):
        width = console.width
        columns: list[ProgressColumn] = [
            TextColumn("{task.description:<9}", markup=False),
            BarColumn(bar_width=24 if width >= WIDE else 8),
            *([TextColumn("{task.percentage:>3.0f}%")] if width >= WIDE else []),
            SpeedColumn(),
            TimeRemainingColumn(compact=True),
            *([TextColumn("{task.fields[numbers]}", markup=False)] if width >= MEDIUM else []),
        ]
        self._progress = Progress(*columns, console=console, transient=True, refresh_per_second=REFRESH_PER_SECOND)
        self._task = self._progress.add_task(name, total=None, numbers="", unit="")
        self._progress.start()

    def update(self, done: float, total: float, *, unit: str, numbers: dict[str, float]) -> None:
        """Show that `done` of `total` units are done, and the newest numbers."""
        text = "  ".join(f"{SHORT_NAMES.get(name, name)} {value:.4g}" for name, value in numbers.items())
        self._progress.update(self._task, completed=done, total=total, numbers=text, unit=unit)

    def stop(self) -> None:
        """Remove the bar."""
        self._progress.stop()
