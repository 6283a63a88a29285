"""How the findings of a stage are gathered, and how those of a whole run are ranked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pipeline.checks.finding import SEVERITIES, Finding
from pipeline.checks.measured import NotMeasured, apply_rule
from pipeline.checks.not_checked import NotChecked, list_not_checked
from pipeline.checks.remedies import keep_true, of_second_training
from pipeline.checks.rule import Rule
from pipeline.validation import one_of


@dataclass(frozen=True)
class CheckSuite:
    """All rules, causes before consequences, and the severity from which a finding fails its stage."""

    fail_on: str
    rules: Mapping[str, Rule]

    def __post_init__(self) -> None:
        one_of("fail_on", self.fail_on, ("failure", "warning", "never"))

    @property
    def explains(self) -> dict[str, tuple[str, ...]]:
        """The direct consequences of each check, in the order of the rules."""
        return {name: tuple(rule.explains) for name, rule in self.rules.items()}

    def evaluate(self, signals: Mapping[str, Any], *, stage: str, earlier: Sequence[Finding] = ()) -> list[Finding]:
        """Return the findings of one stage, ranked. `earlier` are the findings of earlier stages of the run.

        A warning or a failure, of this stage or an earlier one, explains its consequences and theirs. A consequence
        that is no worse than its cause is dropped; a worse one stays, and follows right behind its cause. `info`
        explains nothing. No remedy is in force already, or ignored by the network (`keep_true`).
        """
        findings = [
            replace(
                keep_true(of_second_training(f, signals) if stage == "finetune" else f, signals, declared=rule),
                stage=stage,
            )
            for rule in self.rules.values()
            if (f := _finding_of(rule, signals)) is not None
        ]
        causes = [*earlier, *findings]
        unexplained = [f for f in findings if not self.is_explained(f, [c for c in causes if _rank(f) >= _rank(c)])]
        return list(rank_findings(unexplained, self.explains))

    def is_explained(self, finding: Finding, causes: Sequence[Finding]) -> bool:
        """Return whether `finding` is a consequence of one of `causes`."""
        explains = self.explains
        return any(_explains(cause, finding, explains) for cause in causes)

    def diagnose(self, findings: Sequence[Finding]) -> tuple[Finding, ...]:
        """Return the findings of a run, given in the order of its stages, with one entry for each check.

        They are sorted by what to fix first. Of several stages' findings of a check it is the worst, else the first,
        and `also_in` names the other stages.
        """
        return _merge_repeats(rank_findings(findings, self.explains))

    def not_checked(self, signals_by_stage: Mapping[str, Mapping[str, Any]]) -> tuple[NotChecked, ...]:
        """Return the checks that could judge none of the stages that ran, and why; the others judged."""
        return list_not_checked(self.rules, signals_by_stage)

    def has_failure(self, findings: Sequence[Finding]) -> bool:
        """Return whether one of `findings` is as severe as `fail_on`."""
        if self.fail_on == "never":
            return False
        return any(_rank(finding) <= SEVERITIES.index(self.fail_on) for finding in findings)


def _finding_of(rule: Rule, signals: Mapping[str, Any]) -> Finding | None:
    """Return the finding of a rule; None also where it cannot judge, which `not_checked` tells."""
    try:
        return apply_rule(rule, signals)
    except NotMeasured:
        return None


def rank_findings(findings: Sequence[Finding], explains: Mapping[str, Sequence[str]]) -> tuple[Finding, ...]:
    """Sort the findings of a run, given in the order of its stages, by what to fix first.

    The worst effective severity comes first: a cause counts as much as the worst of its consequences. Among equals
    the earlier stage comes first, then the order of the rules; consequences follow right behind their cause.
    `explains` gives the direct consequences of each check, in the order of the rules.
    """
    stages = list(dict.fromkeys(f.stage for f in findings))
    order = {check: index for index, check in enumerate(explains)}
    consequences = [
        [
            j
            for j, g in enumerate(findings)
            if stages.index(g.stage) >= stages.index(f.stage) and _explains(f, g, explains)
        ]
        for f in findings
    ]
    worst = [min(_rank(findings[k]) for k in (i, *consequences[i])) for i in range(len(findings))]

    def sort_key(i: int) -> tuple[int, int, int, int]:
        f = findings[i]
        return worst[i], stages.index(f.stage), order.get(f.check, len(order)), i

    ranked: list[int] = []

    def append(i: int) -> None:
        if i not in ranked:
            ranked.append(i)
            for j in sorted(consequences[i], key=sort_key):
                if worst[j] == worst[i]:
                    append(j)

    for i in sorted(range(len(findings)), key=sort_key):
        append(i)
    return tuple(findings[i] for i in ranked)


def _merge_repeats(ranked: Sequence[Finding]) -> tuple[Finding, ...]:
    """Return one finding for each check, at the place of the first."""
    by_check: dict[str, list[Finding]] = {}
    for finding in ranked:
        by_check.setdefault(finding.check, []).append(finding)
    worst = {check: min(found, key=_rank) for check, found in by_check.items()}
    return tuple(
        replace(f, also_in=tuple(dict.fromkeys(g.stage for g in by_check[check] if g.stage != f.stage)))
        for check, f in worst.items()
    )


def _rank(finding: Finding) -> int:
    """Return 0 for the worst severity."""
    return SEVERITIES.index(finding.severity)


def _explains(cause: Finding, finding: Finding, explains: Mapping[str, Sequence[str]]) -> bool:
    """Return whether `finding` is a consequence of `cause`, directly or through other checks."""
    if cause.severity == "info":
        return False
    reached: set[str] = set()
    remaining = [cause.check]
    while remaining:
        new = set(explains.get(remaining.pop(), ())) - reached
        reached |= new
        remaining.extend(new)
    return finding.check in reached
