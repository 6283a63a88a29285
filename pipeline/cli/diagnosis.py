"""What `diagnose` found out about a run or a log, whichever form it is shown in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.checks import CheckSuite, Finding, NotChecked
from pipeline.checks.baseline import DOCS
from pipeline.cli.rejudge import RejudgedStage
from pipeline.errors import FAILED, NOT_JUDGED, PASSED

STATUS = {PASSED: "passed", FAILED: "failed", NOT_JUDGED: "not judged"}


@dataclass(frozen=True)
class Diagnosis:
    """The verdict on a run or a log."""

    path: Path
    kind: str
    """What was read: `run`, or the kind of the log."""
    stages: Sequence[RejudgedStage]
    findings: Sequence[Finding]
    """All findings, ranked by what to fix first."""
    judged: Sequence[str]
    """Checks that were evaluated."""
    not_checked: Sequence[NotChecked]
    fail_on: str
    """The severity from which a finding is a failure, or `never`."""
    explains: Mapping[str, Sequence[str]]
    """The direct consequences of each check."""
    can_judge: bool
    """Whether enough was logged for a verdict."""
    read: Sequence[str] = ()
    """Sentences on what was read, and what was passed over."""
    baseline_fail_on: str = "failure"
    """The same as `fail_on` for findings relative to a good run, whatever the run itself recorded."""

    @property
    def exit_code(self) -> int:
        """Return `FAILED`, `NOT_JUDGED` or `PASSED`. A failure that was seen counts, however little was logged."""
        if not all(stage.passed for stage in self.stages):
            return FAILED
        return PASSED if self.can_judge else NOT_JUDGED

    @property
    def status(self) -> str:
        return STATUS[self.exit_code]

    def fails(self, finding: Finding) -> bool:
        """Return whether the finding alone makes the run fail."""
        fail_on = self.baseline_fail_on if finding.check in DOCS else self.fail_on
        return CheckSuite(fail_on, {}).has_failure([finding])

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain JSON values, for `--json`."""
        return {
            "path": str(self.path),
            "kind": self.kind,
            "status": self.status,
            "exit_code": self.exit_code,
            "findings": [finding.to_dict() for finding in self.findings],
            "judged": list(self.judged),
            "not_checked": [entry.to_dict() for entry in self.not_checked],
            "read": list(self.read),
        }
