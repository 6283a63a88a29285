"""The terminal: a line a stage, a bar while it runs, findings with their remedy, and at the end all of them, ranked."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from pipeline.report.console import console as make_console
from pipeline.report.console import is_live
from pipeline.report.progress_bar import StageProgress

if TYPE_CHECKING:
    from pipeline.checks import Finding
    from pipeline.workflow.attempt import FixAttempt
    from pipeline.workflow.components import Components
    from pipeline.workflow.result import RunResult

_COLOURS = {"failure": "red", "warning": "yellow", "info": "cyan"}
NARROW = 72
"""Columns below which a table of findings would break its words."""


class StageResult(Protocol):
    """What is told of a stage's outcome."""

    @property
    def name(self) -> str: ...
    @property
    def passed(self) -> bool: ...
    @property
    def seconds(self) -> float: ...
    @property
    def headline(self) -> str: ...
    @property
    def metrics(self) -> Mapping[str, Any]: ...
    @property
    def findings(self) -> Sequence[Finding]: ...


class Terminal:
    """Writes to standard output; without a terminal (a pipe, CI) no bar and no control characters."""

    def __init__(self, *, verbose: int, console: Console | None = None):
        self.console = console or make_console(unheard=True)  # hours of training are worth more than its lines
        self.verbose = verbose
        self._bar: StageProgress | None = None
        self._told: dict[str, str] = {}  # findings told while the stage runs: check -> severity

    def on_run_start(self, components: Components) -> None:
        data = components.data
        channels, height, width = data.input_shape
        sizes = ", ".join(f"{size:,} {split}" for split, size in data.sizes.items())
        shape = f"{channels}x{height}x{width}" if height * width > 1 else f"{channels} features"
        self.console.print(f"{escape(data.name)}: {len(data.classes)} classes, {shape}; {sizes}", style="dim")

    def on_stage_start(self, name: str) -> None:
        self._told = {}
        if self.verbose == 0 or not is_live(self.console):
            return
        self._bar = StageProgress(name, console=self.console)

    def progress(self, done: float, total: float, *, unit: str = "steps", **numbers: float) -> None:
        if self._bar is not None:
            self._bar.update(done, total, unit=unit, numbers=numbers)

    def on_finding(self, finding: Finding) -> None:
        """What holds already while the stage runs, above the bar; told again only when it gets worse or milder."""
        if self.verbose > 0 and self._told.get(finding.check) != finding.severity:
            self._told[finding.check] = finding.severity
            self._print_finding(finding)

    def on_stage_end(self, outcome: StageResult, *, resumed: bool = False) -> None:
        self.close()
        verdict = Text("passed", "green") if outcome.passed else Text("FAILED", "bold red")
        note = "  (from the run resumed)" if resumed else ""
        head = Text.assemble((f"{outcome.name:<9} ", "bold"), verdict, f"  {outcome.seconds:5.1f} s  ")
        self._print_columns(head, Text(outcome.headline + note))
        for finding in outcome.findings:
            if self._told.pop(finding.check, None) == finding.severity:
                self._print(self._title(finding) + Text(": as told above", "dim"))
            else:
                self._print_finding(finding)
        for check in self._told:
            self._print(Text(f"{check}: told above, and no longer so at the end", "dim"))
        if self.verbose >= 2:
            for name, value in outcome.metrics.items():
                if isinstance(value, (int, float, str)):
                    self.console.print(Text(f"          {name} = {value}", "dim"))
            memory: Mapping[str, float | None] = getattr(outcome, "memory", None) or {}  # absent from what is diagnosed
            for name, value in memory.items():
                if value is not None:
                    self.console.print(Text(f"          peak memory: {name} = {value}", "dim"))

    def _print_columns(self, head: Text, rest: Text) -> None:
        """Two parts of a line, of which the second goes on below itself, or where that is thin, below the first."""
        if self.console.soft_wrap:
            self.console.print(head + rest)
        elif self.console.width < NARROW:
            self.console.print(head)
            self._print(rest)
        else:
            table = Table.grid()
            table.add_column(no_wrap=True)
            table.add_column(overflow="fold")
            table.add_row(head, rest)
            self.console.print(table)

    def _print_finding(self, finding: Finding) -> None:
        self._print(self._title(finding))
        self._print(Text(finding.message))
        self._labelled("expected", Text(finding.expected))
        self._labelled("why", Text(finding.why))
        if finding.remedy:
            self._labelled("try", Text(" ".join(finding.remedy), "bold"))

    def _labelled(self, label: str, text: Text) -> None:
        head = Text(f"{label:<9}", "dim")
        if self.console.soft_wrap:
            self._print(head + text)
        else:
            table = Table.grid()
            table.add_column(no_wrap=True)
            table.add_column(overflow="fold")
            table.add_row(head, text)
            self.console.print(Padding(table, (0, 0, 0, 2), expand=False))

    def _title(self, finding: Finding) -> Text:
        where = f" in {finding.where}" if finding.where else ""
        return Text.assemble((f"{finding.severity}: {finding.check}", f"bold {_COLOURS[finding.severity]}"), where)

    def _print(self, line: Text) -> None:
        if self.console.soft_wrap:
            self.console.print(Text("  ") + line)
        else:  # wrapped lines keep the indent
            self.console.print(Padding(line, (0, 0, 0, 2), expand=False))

    def on_fix_start(self, finding: Finding, stage: str) -> None:
        """What is tried against a finding, before the stages run again."""
        self.console.print(Text.assemble(("fix  ", "bold"), f"{finding.check}: trying {' '.join(finding.remedy)}"))

    def on_fix_end(self, attempt: FixAttempt) -> None:
        """Whether it is kept, why, and the key measure before and after."""
        said = Text("kept", "green") if attempt.kept else Text("not kept", "yellow")
        after = attempt.after
        change = ""
        if after and after.value is not None:
            since = "" if attempt.before.value is None else f"{attempt.before.value:.4g} -> "
            change = f"; {after.measure} {since}{after.value:.4g}"
        self.console.print(Text.assemble(("fix  ", "bold"), said, f": {attempt.reason}{change}"))

    def on_fix_exhausted(self, reason: str) -> None:
        self.console.print(Text.assemble(("fix  ", "bold"), reason))

    def summary(self, findings: Sequence[Finding]) -> None:
        """All findings, the first to mend first, where there are several; one below the other on a narrow terminal."""
        if self.verbose == 0 or len(findings) < 2:
            return
        self.console.print(Text(f"{len(findings)} findings, the first to mend first:", "bold"))
        rows = [
            (str(place), Text(f.severity, _COLOURS[f.severity]), f"{f.stage}: {f.check}", " ".join(f.remedy))
            for place, f in enumerate(findings, start=1)
        ]
        if self.console.width < NARROW:
            for place, severity, check, remedy in rows:
                self._print(Text.assemble(f"{place} ", severity, f" {check}"))
                if remedy:
                    self._print(Text.assemble(("  try ", "dim"), remedy))
            return
        table = Table.grid(padding=(0, 2, 0, 0))
        for _ in range(3):
            table.add_column(no_wrap=True)
        table.add_column(overflow="fold")
        for place, severity, check, remedy in rows:
            table.add_row(place, severity, Text(check), Text.assemble(("try ", "dim"), remedy) if remedy else "")
        self.console.print(Padding(table, (0, 0, 0, 2)))

    def on_run_end(self, result: RunResult) -> None:
        self.summary(result.diagnosis)
        self.verdict(result.status, result.directory, seconds=result.seconds)

    def verdict(self, status: str, directory: Path, *, seconds: float | None = None) -> None:
        where = os.path.relpath(directory)
        where = str(directory) if where.startswith("..") else where
        time = "" if seconds is None else f" in {seconds:.1f} s"
        line = Text.assemble((status, "green" if status == "passed" else "bold red"), f"{time}  ", where)
        self.console.print(line, soft_wrap=True)  # the terminal breaks it, so that the path can be copied whole

    def close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
