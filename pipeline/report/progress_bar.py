"""The line that moves while a stage runs: how far, how fast, how long yet, and the newest numbers."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

WIDE, MEDIUM = 100, 72
"""Columns from which there is room for everything, and for the newest numbers beside a short bar."""
SHORT_NAMES = {"val_accuracy": "val", "val_loss": "val loss"}
"""Words for numbers that are longer than the numbers."""
REFRESH_PER_SECOND = 2
"""Times that it is drawn: each takes 1.7 ms of a core from the training, for which the other cores wait. Drawn 5 times
a second, it cost 2 % of a convnet's step (docs/LOG.md)."""


class SpeedColumn(ProgressColumn):
    """`412 steps/s` over the last half minute; nothing for what has no unit."""

    def render(self, task: Task) -> Text:
        unit = task.fields["unit"]
        if not unit or not task.speed:
            return Text("")
        return Text(f"{task.speed:,.0f} {unit}/s" if task.speed >= 10 else f"{task.speed:.2g} {unit}/s", "dim")


class StageProgress:
    """Drawn over itself until it is stopped, and then gone."""

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
        said = "  ".join(f"{SHORT_NAMES.get(name, name)} {value:.4g}" for name, value in numbers.items())
        self._progress.update(self._task, completed=done, total=total, numbers=said, unit=unit)

    def stop(self) -> None:
        self._progress.stop()
