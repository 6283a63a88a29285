"""The interface of what follows a run: the terminal, or nothing."""

from __future__ import annotations

from typing import Protocol

from pipeline.checks import Finding
from pipeline.workflow.attempt import FixAttempt
from pipeline.workflow.components import Components
from pipeline.workflow.outcome import Outcome
from pipeline.workflow.result import RunResult


class Reporter(Protocol):
    """Receives what happens in a run, in the order in which it happens."""

    def on_run_start(self, components: Components) -> None: ...

    def on_note(self, note: str) -> None:
        """Receive a sentence about how the run goes on."""

    def on_stage_start(self, name: str) -> None: ...

    def progress(self, done: float, total: float, *, unit: str = "steps", **numbers: float) -> None: ...

    def on_finding(self, finding: Finding) -> None:
        """Receive a finding that holds already while its stage runs."""

    def on_stage_end(self, outcome: Outcome, *, resumed: bool = False) -> None: ...

    def on_fix_start(self, finding: Finding, stage: str) -> None: ...

    def on_fix_end(self, attempt: FixAttempt) -> None: ...

    def on_fix_exhausted(self, reason: str) -> None: ...

    def on_run_end(self, result: RunResult) -> None: ...

    def close(self) -> None:
        """Clean up, however the run ended."""


class NullReporter:
    """Reports nothing."""

    def on_run_start(self, components: Components) -> None: ...

    def on_note(self, note: str) -> None: ...

    def on_stage_start(self, name: str) -> None: ...

    def progress(self, done: float, total: float, *, unit: str = "steps", **numbers: float) -> None: ...

    def on_finding(self, finding: Finding) -> None: ...

    def on_stage_end(self, outcome: Outcome, *, resumed: bool = False) -> None: ...

    def on_fix_start(self, finding: Finding, stage: str) -> None: ...

    def on_fix_end(self, attempt: FixAttempt) -> None: ...

    def on_fix_exhausted(self, reason: str) -> None: ...

    def on_run_end(self, result: RunResult) -> None: ...

    def close(self) -> None: ...
