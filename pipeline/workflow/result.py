"""The result of a run, as `pipeline.run()` returns it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.checks import CheckSuite, Finding, rank_findings
from pipeline.workflow.attempt import FixAttempt
from pipeline.workflow.outcome import Outcome, all_findings


@dataclass(frozen=True, repr=False)
class RunResult:
    """How a run ended. `status` is passed, failed, error or interrupted; `directory` holds all files of the run."""

    status: str
    exit_code: int
    seconds: float
    directory: Path
    outcomes: tuple[Outcome, ...]
    diagnosis: tuple[Finding, ...] = ()
    """All findings, ranked: the first is the first to fix."""
    fixes: tuple[FixAttempt, ...] = ()
    """Remedies that `fix=true` tried, in order."""

    @property
    def findings(self) -> tuple[Finding, ...]:
        """All findings, in the order of the stages."""
        return tuple(all_findings(self.outcomes))

    @property
    def metrics(self) -> dict[str, dict[str, Any]]:
        """The metrics of each stage, by the stage's name."""
        return {outcome.name: outcome.metrics for outcome in self.outcomes}

    def __repr__(self) -> str:
        from pipeline.report.notebook import result_line

        return result_line(self)

    def _repr_html_(self) -> str:
        from pipeline.report.notebook import result_html

        return result_html(self)


def diagnose_outcomes(outcomes: Sequence[Outcome], checks: CheckSuite) -> tuple[Finding, ...]:
    """Return the findings of all `outcomes`, ranked: the first is the first to fix."""
    return rank_findings(all_findings(outcomes), checks.explains)
