"""The outcome of a stage: the entries of `stages` in outcome.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.checks import Finding


@dataclass(frozen=True)
class Outcome:
    """What one stage measured, found and concluded."""

    name: str
    passed: bool
    seconds: float
    headline: str
    """The stage's result in one line of words and numbers."""
    metrics: dict[str, Any]
    """Plain numbers, strings, lists and dictionaries."""
    findings: tuple[Finding, ...] = ()
    signals: dict[str, Any] | None = None
    """Everything the checks saw, for signals.json."""
    images: Mapping[str, Any] | None = field(default=None, compare=False)
    """Small arrays to look at, for pictures.npz."""
    memory: dict[str, float | None] | None = None
    """Peak memory in MB, as `measure_peak_memory` returns it."""

    def to_dict(self) -> dict[str, Any]:
        """Return the entry of `stages` in outcome.json."""
        return {
            "name": self.name,
            "status": "passed" if self.passed else "failed",
            "seconds": round(self.seconds, 3),
            "headline": self.headline,
            "memory": self.memory,
            "metrics": self.metrics,
            "findings": [finding.to_dict() for finding in self.findings],
        }


def all_findings(outcomes: Sequence[Outcome]) -> list[Finding]:
    """Return the findings of all `outcomes`, in order."""
    return [finding for outcome in outcomes for finding in outcome.findings]


def outcomes_from_record(
    record: Mapping[str, Any],
    signals: Mapping[str, dict[str, Any]] | None = None,
    images: Mapping[str, dict[str, Any]] | None = None,
) -> list[Outcome]:
    """Rebuild the outcomes of an outcome.json, each with its part of signals.json and pictures.npz."""
    return [
        Outcome(
            name=stage["name"],
            passed=stage["status"] == "passed",
            seconds=stage["seconds"],
            headline=stage["headline"],
            memory=stage.get("memory"),
            metrics=stage["metrics"],
            findings=tuple(Finding.from_dict(fields) for fields in stage["findings"]),
            signals=(signals or {}).get(stage["name"]),
            images=(images or {}).get(stage["name"]),
        )
        for stage in record["stages"]
    ]
