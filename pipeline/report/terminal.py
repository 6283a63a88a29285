"""The terminal: a line for each stage, a bar while it runs, findings with their remedies, and a ranking at the end."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from rich.console import Console
from rich.markup import escape
from rich.text import Text

from pipeline.checks.not_checked import group_by_reason
from pipeline.report.console import console as make_console
from pipeline.report.console import is_live
from pipeline.report.finding_printer import FindingPrinter
from pipeline.report.progress_bar import StageProgress

if TYPE_CHECKING:
    from pipeline.checks import Finding, NotChecked
    from pipeline.workflow.attempt import FixAttempt
    from pipeline.workflow.components import Components
    from pipeline.workflow.reporter import Reporter
    from pipeline.workflow.result import RunResult
else:
    Reporter = object  # importing the protocol would import torch


OUTPUTS = {
    "classification": ("class", "classes"),
    "multilabel": ("label", "labels"),
    "regression": ("target", "targets"),
}
"""What the outputs of each task stand for, one and several."""
MAX_REASONS = 2
"""Reasons why checks could not judge that are named in the line at the end."""


class StageResult(Protocol):
    """What is printed of a stage: an `Outcome`, or a stage whose checks are evaluated again."""

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


class Terminal(Reporter):
    """Prints a run to standard output. In a pipe or in CI there is no bar and no control character.

    With `verbose` 0 there are only results of stages and their findings; with 2, metrics and memory too.
    """

    def __init__(self, *, verbose: int, console: Console | None = None):
        # a run of hours continues when the reader of its output is gone
        self.console = console or make_console(ignore_broken_pipe=True)
        self.verbose = verbose
        self._printer = FindingPrinter(self.console)
        self._bar: StageProgress | None = None
        self._reported: dict[str, str] = {}  # findings printed while the stage runs: check -> severity
        self._explained: set[tuple[str, str, str | None]] = set()  # findings of earlier stages

    def on_run_start(self, components: Components) -> None:
        """Print name, classes, shape and sizes of the data."""
        data = components.data
        channels, height, width = data.input_shape
        sizes = ", ".join(f"{size:,} {split}" for split, size in data.sizes.items())
        shape = f"{channels}x{height}x{width}" if height * width > 1 else f"{channels} feature{'s' * (channels != 1)}"
        count = f"{len(data.classes)} {OUTPUTS[data.task][len(data.classes) > 1]}"
        self.console.print(f"{escape(data.name)}: {count}, {shape}; {sizes}", style="dim")
        for note in data.loading.get("notes", ()):
            self.console.print(f"  {escape(note)}", style="dim")
        if components.weights:
            self.console.print(escape(components.weights["summary"]), style="dim")

    def on_note(self, note: str) -> None:
        """Print the sentence."""
        self.console.print(escape(note), style="dim")

    def on_stage_start(self, name: str) -> None:
        """Start the bar, where there can be one."""
        self._reported = {}
        if self.verbose > 0 and is_live(self.console):
            self._bar = StageProgress(name, console=self.console)

    def progress(self, done: float, total: float, *, unit: str = "steps", **numbers: float) -> None:
        """Move the bar."""
        if self._bar is not None:
            self._bar.update(done, total, unit=unit, numbers=numbers)

    def on_finding(self, finding: Finding) -> None:
        """Print a finding above the bar, once for each severity that it takes."""
        if _key(finding) in self._explained:
            return  # an earlier stage has said it
        if self.verbose > 0 and self._reported.get(finding.check) != finding.severity:
            self._reported[finding.check] = finding.severity
            self._printer.print_finding(finding)

    def on_stage_end(self, outcome: StageResult, *, resumed: bool = False) -> None:
        """Print the result of the stage, and the findings that are not yet above."""
        self.close()
        status = Text("passed", "green") if outcome.passed else Text("FAILED", "bold red")
        note = "  (from the resumed run)" if resumed else ""
        head = Text.assemble((f"{outcome.name:<9} ", "bold"), status, f"  {outcome.seconds:5.1f} s  ")
        self._printer.print_columns(head, Text(outcome.headline + note))
        for finding in outcome.findings:
            if self._reported.pop(finding.check, None) == finding.severity or _key(finding) in self._explained:
                self._printer.print_indented(self._printer.title(finding) + Text(": see above", "dim"))
            else:
                self._printer.print_finding(finding)
            self._explained.add(_key(finding))
        for check in self._reported:
            self._printer.print_indented(Text(f"{check}: reported above; resolved by the end", "dim"))
        if self.verbose >= 2:
            self._print_numbers(outcome)

    def on_fix_start(self, finding: Finding, stage: str) -> None:
        """Print the remedy that is tried."""
        self.console.print(Text.assemble(("fix  ", "bold"), f"{finding.check}: trying {' '.join(finding.remedy)}"))

    def on_fix_end(self, attempt: FixAttempt) -> None:
        """Print whether the remedy is kept, why, and the stage's key metric before and after."""
        result = Text("kept", "green") if attempt.kept else Text("not kept", "yellow")
        after = attempt.after
        change = ""
        if after and after.value is not None:
            before = "" if attempt.before.value is None else f"{attempt.before.value:.4g} -> "
            change = f"; {after.measure} {before}{after.value:.4g}"
        self.console.print(Text.assemble(("fix  ", "bold"), result, f": {attempt.reason}{change}"))

    def on_fix_exhausted(self, reason: str) -> None:
        """Print why no further remedy is tried."""
        self.console.print(Text.assemble(("fix  ", "bold"), reason))

    def on_run_end(self, result: RunResult) -> None:
        """Print the ranked findings and the result of the run."""
        self.summary(result.diagnosis)
        self.not_checked(result.not_checked, result.judged_checks)
        self.verdict(result.status, result.directory, seconds=result.seconds)

    def summary(self, findings: Sequence[Finding]) -> None:
        """Print ranked findings if there are several."""
        if self.verbose > 0 and len(findings) > 1:
            self._printer.print_ranking(findings)

    def not_checked(self, entries: Sequence[NotChecked], judged: int) -> None:
        """Print how many checks judged, and why the others could not: one line, or with `verbose` 2 which they are."""
        if not entries or self.verbose == 0:
            return
        head, reasons = f"{judged} of {judged + len(entries)} checks judged", group_by_reason(entries)
        if self.verbose >= 2:
            self.console.print(Text(f"{head}; the others could not:", "dim"))
            for reason, checks in reasons.items():
                self._printer.print_indented(Text(f"{reason}: {', '.join(checks)}", "dim"))
            return
        named = list(reasons)[:MAX_REASONS]
        more = f", and {rest} more reason{'s' if rest > 1 else ''}" if (rest := len(reasons) - len(named)) else ""
        self.console.print(Text(f"{head}; not the others: {', '.join(named)}{more} (verbose=2 lists them)", "dim"))

    def verdict(self, status: str, directory: Path, *, seconds: float | None = None) -> None:
        """Print the status of a run, its seconds and its directory."""
        relative = os.path.relpath(directory)
        path = str(directory) if relative.startswith("..") else relative
        time = "" if seconds is None else f" in {seconds:.1f} s"
        line = Text.assemble((status, "green" if status == "passed" else "bold red"), f"{time}  ", path)
        self.console.print(line, soft_wrap=True)  # the terminal wraps the path, so that it can be copied whole

    def close(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _print_numbers(self, outcome: StageResult) -> None:
        for name, value in outcome.metrics.items():
            if isinstance(value, (int, float, str)):
                self.console.print(Text(f"          {name} = {value}", "dim"))
        memory: Mapping[str, float | None] = getattr(outcome, "memory", None) or {}  # a `RejudgedStage` has none
        total = memory.get("device_total_mb")
        for name, value in memory.items():
            if value is not None and name != "device_total_mb":
                share = f" of {total}" if total is not None and name.startswith("device_") else ""
                self.console.print(Text(f"          peak memory: {name} = {value}{share}", "dim"))


def _key(finding: Finding) -> tuple[str, str, str | None]:
    """Return what two stages' findings share if they say the same."""
    return finding.check, finding.severity, finding.where
