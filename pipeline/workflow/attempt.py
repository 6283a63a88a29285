"""One remedy that was tried: the summary before it, the summary after it, and whether it is kept."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.checks import SEVERITIES, Finding
from pipeline.workflow.outcome import Outcome, all_findings


@dataclass(frozen=True)
class StageSummary:
    """The result of the stages up to the one to be fixed, in the few numbers that are compared."""

    passed: bool
    failures: int
    warnings: int
    measure: str | None
    """Name of the stage's key metric; None where it was not measured."""
    value: float | None

    @property
    def score(self) -> tuple[bool, int, int]:
        """A sort key; smaller is better."""
        return not self.passed, self.failures, self.warnings

    def to_dict(self) -> dict[str, Any]:
        fields = dataclasses.asdict(self)
        return {"status": "passed" if fields.pop("passed") else "failed", **fields}

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> StageSummary:
        """Rebuild what `to_dict` returned."""
        value = None if fields["value"] is None else float(fields["value"])
        return cls(fields["status"] == "passed", fields["failures"], fields["warnings"], fields["measure"], value)


@dataclass(frozen=True)
class FixAttempt:
    """One remedy that was tried; the entries of `fixes` in outcome.json."""

    check: str
    remedy: tuple[str, ...]
    stage: str
    """The stage to be fixed, which is not always the one that found the cause."""
    kept: bool
    before: StageSummary
    after: StageSummary | None
    """None where the remedy could not be tried."""
    reason: str

    def to_dict(self) -> dict[str, Any]:
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        after = None if self.after is None else self.after.to_dict()
        return fields | {"remedy": list(self.remedy), "before": self.before.to_dict(), "after": after}

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> FixAttempt:
        """Rebuild what `to_dict` returned."""
        before = StageSummary.from_dict(fields["before"])
        after = None if fields["after"] is None else StageSummary.from_dict(fields["after"])
        return cls(**{**fields, "remedy": tuple(fields["remedy"]), "before": before, "after": after})


def summarize(outcomes: Sequence[Outcome], key_metric: str | None) -> StageSummary:
    """Count the findings of all `outcomes`, and read the last stage's `key_metric` from its metrics or signals."""
    severities = [finding.severity for finding in all_findings(outcomes)]
    last = outcomes[-1]
    value = last.metrics.get(key_metric, (last.signals or {}).get(key_metric)) if key_metric else None
    number = float(value) if isinstance(value, (int, float)) else None
    return StageSummary(
        passed=last.passed,
        failures=severities.count("failure"),
        warnings=severities.count("warning"),
        measure=None if number is None else key_metric,
        value=number,
    )


def has_finding(outcomes: Sequence[Outcome], finding: Finding) -> bool:
    """Return whether a stage has a finding of the same check that is no milder."""
    rank = SEVERITIES.index
    return any(f.check == finding.check and rank(f.severity) <= rank(finding.severity) for f in all_findings(outcomes))


def is_improvement(
    before: StageSummary, after: StageSummary, reached: str, stage: str, *, remaining: str | None = None
) -> tuple[bool, str]:
    """Return whether the remedy is kept, and why.

    A remedy is kept if `stage` had failed and passes with it, or if `stage` and those before it have fewer failures, or
    as many failures and fewer warnings. A training that passed with warnings must also reach the validation accuracy
    it had. `reached` is the stage at which the attempt ended, `remaining` the check whose finding the remedy should
    cure, where it is no milder than before.
    """
    if reached != stage:
        return False, f"{reached} fails with it"
    if remaining is not None:
        return False, f"{remaining} is still there"
    if after.score >= before.score:
        return False, f"{stage} is no better with it"
    if before.passed and before.value is not None and not (after.value is not None and after.value >= before.value):
        return False, f"the warning is gone, but {stage} is worse"
    return True, f"{stage} passes" if not before.passed and after.passed else f"{stage} has fewer findings"
