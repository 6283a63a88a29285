"""What a check says: one finding; how a stage's findings are gathered, and how all of them are ranked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar, Literal, Protocol

from pipeline.validation import one_of

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

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "remedy": list(self.remedy)}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Finding:
        """The finding that `as_dict` laid down."""
        return cls(**{**fields, "remedy": tuple(fields["remedy"])})


class Rule(Protocol):
    """A check: pure, from signals to a finding, or None where all is well or its signals were not measured."""

    explains: ClassVar[tuple[str, ...]]
    """Names of checks whose findings are consequences of this one (`Checks.judge` says what becomes of them)."""

    def __call__(self, signals: Signals) -> Finding | None: ...


@dataclass(frozen=True)
class CheckSuite:
    """All rules, causes before consequences, and the severity from which a finding fails its stage."""

    fail_on: str
    rules: Mapping[str, Rule]

    def __post_init__(self) -> None:
        one_of("fail_on", self.fail_on, ("failure", "warning", "never"))

    @property
    def explains(self) -> dict[str, tuple[str, ...]]:
        """Each check's direct consequences, in the order of the rules."""
        return {name: tuple(rule.explains) for name, rule in self.rules.items()}

    def evaluate(self, signals: Signals, *, stage: str, earlier: Sequence[Finding] = ()) -> list[Finding]:
        """Findings of one stage, ranked. `earlier`: what earlier stages of the run found.

        A warning or a failure, of this stage or an earlier one, explains its consequences and theirs. A consequence
        that is no worse than its cause is dropped; a worse one stays, and stands right behind its cause. `info`
        explains nothing.
        """
        found = [replace(f, stage=stage) for rule in self.rules.values() if (f := rule(signals)) is not None]
        explains = self.explains
        causes = [*earlier, *found]
        kept = [f for f in found if not any(_explains(c, f, explains) and _no_worse(f, c) for c in causes)]
        return list(rank_findings(kept, explains))

    def has_failure(self, findings: Sequence[Finding]) -> bool:
        if self.fail_on == "never":
            return False
        return any(_RANK[f.severity] <= _RANK[self.fail_on] for f in findings)


def rank_findings(findings: Sequence[Finding], explains: Mapping[str, Sequence[str]]) -> tuple[Finding, ...]:
    """Findings of a run, given in the order of its stages, the first to mend first.

    The worst effective severity comes first: a cause counts as much as the worst of its consequences. Among equals
    the earlier stage comes first, then the order of the rules; consequences follow right behind their cause.
    `explains`: each check's direct consequences, in the order of the rules.
    """
    stages = list(dict.fromkeys(f.stage for f in findings))
    order = {check: place for place, check in enumerate(explains)}
    below = [
        [
            j
            for j, g in enumerate(findings)
            if stages.index(g.stage) >= stages.index(f.stage) and _explains(f, g, explains)
        ]
        for f in findings
    ]
    worst = [min(_RANK[findings[k].severity] for k in (i, *below[i])) for i in range(len(findings))]

    def place(i: int) -> tuple[int, int, int, int]:
        f = findings[i]
        return worst[i], stages.index(f.stage), order.get(f.check, len(order)), i

    queue = sorted(range(len(findings)), key=place)
    line: list[int] = []

    def put(i: int) -> None:
        if i not in line:
            line.append(i)
            for j in sorted(below[i], key=place):
                if worst[j] == worst[i]:
                    put(j)

    for i in queue:
        put(i)
    return tuple(findings[i] for i in line)


def _explains(cause: Finding, finding: Finding, explains: Mapping[str, Sequence[str]]) -> bool:
    """Whether the cause's consequences, theirs, and so on contain the finding."""
    if cause.severity == "info":
        return False
    reached: set[str] = set()
    ahead = [cause.check]
    while ahead:
        fresh = set(explains.get(ahead.pop(), ())) - reached
        reached |= fresh
        ahead.extend(fresh)
    return finding.check in reached


def _no_worse(finding: Finding, cause: Finding) -> bool:
    return _RANK[finding.severity] >= _RANK[cause.severity]
