"""What a check says: one finding, and how findings of one stage are gathered and ranked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, Protocol

from pipeline.fields import choice

Severity = Literal["info", "warning", "failure"]
Signals = Mapping[str, Any]
"""Plain numbers, words and lists of them by name: what was measured. Never a tensor, never a network."""

_RANK = {"failure": 0, "warning": 1, "info": 2}


@dataclass(frozen=True)
class Finding:
    """A verdict with its evidence; the fields of `findings` in outcome.json."""

    check: str
    severity: Severity
    measured: dict[str, float]
    expected: str
    message: str
    why: str
    remedy: tuple[str, ...]
    """Overrides that can be appended to the command as it was typed; empty where no configuration is the cure."""
    source: str
    where: str | None = None
    step: int | None = None
    stage: str = ""

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "remedy": list(self.remedy)}


class Rule(Protocol):
    """A check: pure, from signals to a finding, or None where all is well or its signals were not measured."""

    explains: tuple[str, ...]
    """Names of checks whose findings are consequences of this one; they are dropped when this one fails."""

    def __call__(self, signals: Signals) -> Finding | None: ...


@dataclass(frozen=True)
class Checks:
    """All rules, causes before consequences, and the severity from which a finding fails its stage."""

    fail_on: str
    rules: Mapping[str, Rule]

    def __post_init__(self) -> None:
        choice("fail_on", self.fail_on, ("failure", "warning", "never"))

    def judge(self, signals: Signals, *, stage: str) -> list[Finding]:
        """Findings of one stage, worst first; among equals the cause stands before its consequences."""
        found: list[Finding] = []
        explained: set[str] = set()
        for name, rule in self.rules.items():
            finding = rule(signals)
            if finding is None or name in explained:
                continue
            found.append(replace(finding, stage=stage))
            if finding.severity == "failure":
                explained.update(rule.explains)
        kept = [f for f in found if f.check not in explained]
        return sorted(kept, key=lambda f: _RANK[f.severity])

    def fails(self, findings: list[Finding]) -> bool:
        if self.fail_on == "never":
            return False
        return any(_RANK[f.severity] <= _RANK[self.fail_on] for f in findings)
