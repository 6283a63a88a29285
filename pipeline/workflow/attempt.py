"""What a remedy was worth: the verdict before it, the verdict after it, and whether it is kept."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.workflow.components import Outcome

KEY_METRICS = {"sanity": "first_loss", "overfit": "overfit_loss", "lr_range": "best_loss", "train": "val_accuracy"}
"""Each stage's key measure: losses in nats, accuracy as a share."""


@dataclass(frozen=True)
class StageSummary:
    """How the stages up to the one to be mended came out."""

    passed: bool
    failures: int
    warnings: int
    measure: str | None
    """Name of the stage's key measure; null where it was not measured."""
    value: float | None

    @property
    def score(self) -> tuple[bool, int, int]:
        """The smaller, the better."""
        return not self.passed, self.failures, self.warnings

    def to_dict(self) -> dict[str, Any]:
        told = dataclasses.asdict(self)
        return {"status": "passed" if told.pop("passed") else "failed", **told}

    @classmethod
    def from_dict(cls, told: dict[str, Any]) -> StageSummary:
        value = None if told["value"] is None else float(told["value"])
        return cls(told["status"] == "passed", told["failures"], told["warnings"], told["measure"], value)


@dataclass(frozen=True)
class FixAttempt:
    """One remedy that was tried; the entries of `fixes` in outcome.json."""

    check: str
    remedy: tuple[str, ...]
    stage: str
    """The stage that was to be mended, not always the one that found the cause."""
    kept: bool
    before: StageSummary
    after: StageSummary | None
    """None where the remedy could not be tried."""
    reason: str

    def to_dict(self) -> dict[str, Any]:
        told = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        after = None if self.after is None else self.after.to_dict()
        return told | {"remedy": list(self.remedy), "before": self.before.to_dict(), "after": after}

    @classmethod
    def from_dict(cls, told: dict[str, Any]) -> FixAttempt:
        after = None if told["after"] is None else StageSummary.from_dict(told["after"])
        return cls(
            **{
                **told,
                "remedy": tuple(told["remedy"]),
                "before": StageSummary.from_dict(told["before"]),
                "after": after,
            }
        )


def summarize(outcomes: Sequence[Outcome]) -> StageSummary:
    """Findings of all stages counted; the key measure is the last stage's."""
    severities = [finding.severity for outcome in outcomes for finding in outcome.findings]
    last = outcomes[-1]
    name = KEY_METRICS.get(last.name, "")
    value = last.metrics.get(name, (last.signals or {}).get(name))
    known = float(value) if isinstance(value, (int, float)) else None
    return StageSummary(
        passed=last.passed,
        failures=severities.count("failure"),
        warnings=severities.count("warning"),
        measure=None if known is None else name,
        value=known,
    )


def is_improvement(before: StageSummary, after: StageSummary, reached: str, stage: str) -> tuple[bool, str]:
    """Whether the remedy is kept, and why.

    Kept is what makes the stage pass, or leaves fewer failures, or as many failures and fewer warnings, in it and
    before it. A training that passed with warnings must also be as accurate on the validation split as it was.
    """
    if reached != stage:
        return False, f"{reached} fails with it"
    if after.score >= before.score:
        return False, f"{stage} is no better with it"
    if before.passed and before.value is not None and not (after.value is not None and after.value >= before.value):
        return False, f"the warning is gone, but {stage} is worse"
    return True, f"{stage} passes" if not before.passed and after.passed else f"{stage} has fewer findings"
