"""The result of a run, as `pipeline.run()` returns it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.checks import CheckSuite, Finding, NotChecked
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
    """The findings, ranked, one for each check: the first is the first to fix."""
    fixes: tuple[FixAttempt, ...] = ()
    """Remedies that `fix=true` tried, in order."""
    not_checked: tuple[NotChecked, ...] = ()
    """The checks that could not judge the run, and why."""
    judged_checks: int = 0
    """The number of checks that could."""

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
    """Return the findings of all `outcomes`, ranked, one for each check: the first is the first to fix."""
    return checks.diagnose(all_findings(outcomes))


def list_not_checked(outcomes: Sequence[Outcome], checks: CheckSuite) -> tuple[NotChecked, ...]:
    """Return the checks that could judge none of `outcomes`, and why."""
    return checks.not_checked({outcome.name: outcome.signals or {} for outcome in outcomes})
