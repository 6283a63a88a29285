"""The terminal: one line a stage, a bar while it runs, findings with their remedy."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

if TYPE_CHECKING:
    from pipeline.parts import Outcome, Parts
    from pipeline.workflow import RunResult

_COLOURS = {"failure": "red", "warning": "yellow", "info": "cyan"}


class Terminal:
    """Writes to standard output; without a terminal (a pipe, CI) no bar and no control characters."""

    def __init__(self, *, verbose: int, console: Console | None = None):
        self.console = console or Console(highlight=False, soft_wrap=not _is_terminal())
        self.verbose = verbose
        self._bar: Progress | None = None
        self._task: Any = None
        self._began = 0.0

    def run_begins(self, parts: Parts) -> None:
        data = parts.data
        channels, height, width = data.input_shape
        sizes = ", ".join(f"{size:,} {split}" for split, size in data.sizes.items())
        shape = f"{channels}x{height}x{width}" if height * width > 1 else f"{channels} features"
        self.console.print(f"{escape(data.name)}: {len(data.classes)} classes, {shape}; {sizes}", style="dim")

    def stage_begins(self, name: str) -> None:
        self._began = time.perf_counter()
        if self.verbose == 0 or not self.console.is_terminal:
            return
        self._bar = Progress(
            TextColumn("{task.description:<9}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[numbers]}", markup=False),
            console=self.console,
            transient=True,
            refresh_per_second=5,
        )
        self._task = self._bar.add_task(name, total=None, numbers="")
        self._bar.start()

    def progress(self, done: float, total: float, **numbers: float) -> None:
        if self._bar is not None:
            said = "  ".join(f"{name} {value:.4g}" for name, value in numbers.items())
            self._bar.update(self._task, completed=done, total=total, numbers=said)

    def stage_ends(self, outcome: Outcome, *, resumed: bool = False) -> None:
        self.close()
        verdict = Text("passed", "green") if outcome.passed else Text("FAILED", "bold red")
        note = "  (from the run resumed)" if resumed else ""
        line = Text.assemble(
            (f"{outcome.name:<9} ", "bold"), verdict, f"  {outcome.seconds:5.1f} s  ", outcome.headline, note
        )
        self.console.print(line)
        for finding in outcome.findings:
            self._finding(finding)
        if self.verbose >= 2:
            for name, value in outcome.metrics.items():
                if isinstance(value, (int, float, str)):
                    self.console.print(Text(f"          {name} = {value}", "dim"))

    def _finding(self, finding: Any) -> None:
        where = f" in {finding.where}" if finding.where else ""
        lines = [
            Text.assemble((f"{finding.severity}: {finding.check}", f"bold {_COLOURS[finding.severity]}"), where),
            Text(finding.message),
            Text.assemble(("expected ", "dim"), finding.expected),
            Text.assemble(("why      ", "dim"), finding.why),
        ]
        if finding.remedy:
            lines.append(Text.assemble(("try      ", "dim"), (" ".join(finding.remedy), "bold")))
        for line in lines:
            if self.console.soft_wrap:
                self.console.print(Text("  ") + line)
            else:  # wrapped lines keep the indent
                self.console.print(Padding(line, (0, 0, 0, 2)))

    def run_ends(self, result: RunResult) -> None:
        style = "green" if result.status == "passed" else "bold red"
        where = os.path.relpath(result.directory)
        where = str(result.directory) if where.startswith("..") else where
        line = Text.assemble((result.status, style), f" in {result.seconds:.1f} s  ", where)
        self.console.print(line)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def _is_terminal() -> bool:
    import sys

    return sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
