"""Rows and totals of the benchmark: was the fault detected, was its cause first, had a healthy run no finding."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from tests.faults.case import SETS, Case
from tests.faults.run import Record

TARGETS = {"detected": 0.95, "cause": 0.85, "false_alarms": 0.02}
"""Lowest shares of faulty runs with a finding, and of those whose first finding names the cause; highest share of
false alarms."""
UNSEEN_TARGETS = {"detected": 0.90, "cause": 0.75, "false_alarms": 0.02}
"""The same for cases that were not in sight while rules were written."""
SHOWN = 0.9
"""Share of its twin's score below which a faulty run shows its fault, and which a repaired run must reach."""


@dataclass(frozen=True)
class Row:
    """One case over its seeds. `counted` are the runs in which the fault must be found."""

    case: Case
    records: tuple[Record, ...]
    counted: tuple[Record, ...]
    twin_score: float | None
    repaired: tuple[bool, ...] = ()

    @property
    def detected(self) -> int:
        return sum(bool(record.findings) for record in self.counted)

    @property
    def cause_first(self) -> int:
        return sum(record.first_check in self.case.expect for record in self.counted)

    @property
    def score(self) -> float | None:
        scores = [record.score for record in self.records if record.score is not None]
        return sum(scores) / len(scores) if scores else None

    @property
    def seconds(self) -> float:
        return sum(record.seconds for record in self.records)

    @property
    def below_floor(self) -> list[Record]:
        """Runs of a healthy case that did not reach its floor."""
        low = [record for record in self.records if record.score is None or record.score < self.case.floor]
        return low if self.case.healthy else []

    @property
    def first_checks(self) -> Counter[str]:
        return Counter(
            record.first_check or ("-" if record.ended != "crashed" else "crashed") for record in self.records
        )

    @property
    def other_checks(self) -> Counter[str]:
        """Checks after the first finding that are neither a cause nor a known consequence."""
        right = self.case.expect | self.case.also_right
        return Counter(check for record in self.records for check, *_ in record.findings[1:] if check not in right)

    @property
    def ok(self) -> bool:
        if self.case.healthy:
            return not self.detected and not self.below_floor
        return self.cause_first == len(self.counted)


def rows_of(
    cases: Mapping[str, Case], records: Iterable[Record], repairs: Mapping[str, Sequence[bool]] | None = None
) -> list[Row]:
    by_case: dict[str, list[Record]] = {name: [] for name in cases}
    for record in records:
        by_case[record.case].append(record)
    rows = []
    for name, case in cases.items():
        runs = tuple(sorted(by_case[name], key=lambda record: record.seed))
        if not runs:
            continue
        twins = [r.score for r in by_case.get(case.twin or "", []) if r.score is not None]
        twin_score = sum(twins) / len(twins) if twins else None
        counted = tuple(run for run in runs if case.must_detect == "always" or shows_fault(run, twin_score))
        rows.append(Row(case, runs, counted, twin_score, tuple((repairs or {}).get(name, ()))))
    return rows


def shows_fault(run: Record, twin_score: float | None) -> bool:
    """Return whether a finding or the score of a run shows that something is wrong."""
    return bool(run.findings) or run.score is None or (twin_score is not None and run.score < SHOWN * twin_score)


@dataclass(frozen=True)
class Totals:
    faults: int
    """Runs in which a fault must be found."""
    detected: float
    cause: float
    healthy: int
    false_alarms: float
    below_floor: int
    crashed: int
    repaired: str
    seconds: float
    targets: Mapping[str, float] = field(default_factory=lambda: TARGETS)

    @property
    def missed(self) -> list[str]:
        """The targets that are not met, as text."""
        missed, targets = [], self.targets
        if self.faults and self.detected < targets["detected"]:
            missed.append(f"detected {self.detected:.1%}, target {targets['detected']:.0%}")
        if self.faults and self.cause < targets["cause"]:
            missed.append(f"cause first {self.cause:.1%}, target {targets['cause']:.0%}")
        if self.healthy and self.false_alarms > targets["false_alarms"]:
            missed.append(f"false alarms {self.false_alarms:.1%}, at most {targets['false_alarms']:.0%}")
        if self.crashed:
            missed.append(f"{self.crashed} runs crashed")
        if self.below_floor:
            missed.append(f"{self.below_floor} healthy runs below their floor")
        return missed


def totals_of(rows: Sequence[Row], seconds: float, targets: Mapping[str, float] = TARGETS) -> Totals:
    faults, healthy = [row for row in rows if not row.case.healthy], [row for row in rows if row.case.healthy]
    counted, runs = sum(len(row.counted) for row in faults), sum(len(row.records) for row in healthy)
    repaired = [is_repaired for row in faults if row.case.fix for is_repaired in row.repaired]
    return Totals(
        faults=counted,
        detected=sum(row.detected for row in faults) / max(counted, 1),
        cause=sum(row.cause_first for row in faults) / max(counted, 1),
        healthy=runs,
        false_alarms=sum(row.detected for row in healthy) / max(runs, 1),
        below_floor=sum(len(row.below_floor) for row in healthy),
        crashed=sum(record.ended == "crashed" for row in rows for record in row.records),
        repaired=f"{sum(repaired)}/{len(repaired)}" if repaired else "not run",
        seconds=seconds,
        targets=targets,
    )


def totals_by_group(rows: Sequence[Row]) -> dict[str, Totals]:
    """Return the totals of each set, and of the cases that were seen and those that were not, each with its targets."""
    groups = {name: [row for row in rows if row.case.set == name] for name in SETS}
    groups["seen"] = [row for row in rows if row.case.seen]
    groups["unseen"] = [row for row in rows if not row.case.seen]
    return {
        name: totals_of(
            group, sum(row.seconds for row in group), UNSEEN_TARGETS if name in ("new", "second", "unseen") else TARGETS
        )
        for name, group in groups.items()
        if group
    }
