"""From runs to rows and totals: was the fault told, was its cause told first, did a healthy run stay silent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tests.faults.case import Case
from tests.faults.run import Record

TARGETS = {"detected": 0.95, "cause": 0.85, "false_alarms": 0.02}
"""Least share of faulty runs that are told of, of those whose first finding names the cause; most false alarms."""
SHOWN = 0.9
"""Share of its twin's score below which a faulty run shows its fault, and which a repaired run reaches."""


@dataclass(frozen=True)
class Row:
    """One case over its seeds. `counted` runs: those in which the fault must be told of."""

    case: Case
    records: tuple[Record, ...]
    counted: tuple[Record, ...]
    twin_score: float | None
    repaired: tuple[bool, ...] = ()

    @property
    def detected(self) -> int:
        return sum(bool(record.told) for record in self.counted)

    @property
    def cause_first(self) -> int:
        return sum(record.first in self.case.expect for record in self.counted)

    @property
    def score(self) -> float | None:
        scores = [record.score for record in self.records if record.score is not None]
        return sum(scores) / len(scores) if scores else None

    @property
    def seconds(self) -> float:
        return sum(record.seconds for record in self.records)

    @property
    def below_floor(self) -> list[Record]:
        """Runs of a healthy case that end in anything but a sensible score."""
        low = [record for record in self.records if record.score is None or record.score < self.case.floor]
        return low if self.case.healthy else []

    @property
    def firsts(self) -> Counter[str]:
        return Counter(record.first or ("-" if record.ended != "crashed" else "crashed") for record in self.records)

    @property
    def others(self) -> Counter[str]:
        """What was told after the first, and neither as a cause nor as a known consequence."""
        right = self.case.expect | self.case.also_right
        return Counter(told[0] for record in self.records for told in record.told[1:] if told[0] not in right)

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
        counted = tuple(run for run in runs if case.must_detect == "always" or shows(run, twin_score))
        rows.append(Row(case, runs, counted, twin_score, tuple((repairs or {}).get(name, ()))))
    return rows


def shows(run: Record, twin_score: float | None) -> bool:
    """Whether a run says or shows that something is wrong."""
    return bool(run.told) or run.score is None or (twin_score is not None and run.score < SHOWN * twin_score)


@dataclass(frozen=True)
class Totals:
    faults: int
    """Runs in which a fault must be told of."""
    detected: float
    cause: float
    healthy: int
    false_alarms: float
    below_floor: int
    crashed: int
    repaired: str
    seconds: float

    @property
    def missed(self) -> list[str]:
        """The targets that are not met, in words."""
        found = []
        if self.faults and self.detected < TARGETS["detected"]:
            found.append(f"detected {self.detected:.1%}, target {TARGETS['detected']:.0%}")
        if self.faults and self.cause < TARGETS["cause"]:
            found.append(f"cause told first {self.cause:.1%}, target {TARGETS['cause']:.0%}")
        if self.healthy and self.false_alarms > TARGETS["false_alarms"]:
            found.append(f"false alarms {self.false_alarms:.1%}, at most {TARGETS['false_alarms']:.0%}")
        if self.crashed:
            found.append(f"{self.crashed} runs crashed")
        if self.below_floor:
            found.append(f"{self.below_floor} healthy runs without a sensible score")
        return found


def totals_of(rows: Sequence[Row], seconds: float) -> Totals:
    faults, healthy = [row for row in rows if not row.case.healthy], [row for row in rows if row.case.healthy]
    counted, runs = sum(len(row.counted) for row in faults), sum(len(row.records) for row in healthy)
    tried = [done for row in faults if row.case.fix for done in row.repaired]
    return Totals(
        faults=counted,
        detected=sum(row.detected for row in faults) / max(counted, 1),
        cause=sum(row.cause_first for row in faults) / max(counted, 1),
        healthy=runs,
        false_alarms=sum(row.detected for row in healthy) / max(runs, 1),
        below_floor=sum(len(row.below_floor) for row in healthy),
        crashed=sum(record.ended == "crashed" for row in rows for record in row.records),
        repaired=f"{sum(tried)}/{len(tried)}" if tried else "not run",
        seconds=seconds,
    )
