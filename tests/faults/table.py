"""The result of the benchmark as a table for people and as JSON for programs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.faults.score import Row, Totals, totals_by_group


def print_tables(rows: Sequence[Row], totals: Totals, console: Console) -> None:
    """Print every case, and the totals: of each set, of what was seen and unseen, and of all."""
    console.print(_faults([row for row in rows if not row.case.healthy]))
    console.print(_healthy([row for row in rows if row.case.healthy]))
    console.print(_groups(totals_by_group(rows)))
    console.print(
        f"faults: {totals.faults} runs, detected {totals.detected:.1%}, cause first {totals.cause:.1%}, "
        f"repaired {totals.repaired}\n"
        f"healthy: {totals.healthy} runs, false alarms {totals.false_alarms:.1%}, below their floor "
        f"{totals.below_floor}\n{totals.seconds:.0f} s",
        highlight=False,
    )
    for missed in missed_targets(rows):
        console.print(f"missed: {missed}", style="red", highlight=False)


def missed_targets(rows: Sequence[Row]) -> list[str]:
    """Return the targets that the seen or the unseen cases miss, as text."""
    groups = totals_by_group(rows)
    return [f"{name}: {missed}" for name in ("seen", "unseen") if name in groups for missed in groups[name].missed]


def _groups(groups: Mapping[str, Totals]) -> Table:
    table = Table("set", "faults", "detected", "cause first", "sound", "false alarms", "below floor", box=None)
    for name, totals in groups.items():
        table.add_row(
            name, str(totals.faults), f"{totals.detected:.1%}", f"{totals.cause:.1%}", str(totals.healthy),
            f"{totals.false_alarms:.1%}", str(totals.below_floor), style="red" if totals.missed else "",
        )  # fmt: skip
    return table


def _faults(rows: Sequence[Row]) -> Table:
    table = Table("fault", "found", "cause", "fixed", "s", "score", "twin", "first finding", "others", box=None)
    for row in rows:
        n = len(row.counted)
        style = "" if row.ok else "red" if row.detected < n else "yellow"
        fixed = f"{sum(row.repaired)}/{len(row.repaired)}" if row.repaired else "not run"
        found, cause = f"{row.detected}/{n}", f"{row.cause_first}/{n}"
        table.add_row(
            row.case.name, found, cause, fixed, f"{row.seconds / len(row.records):.1f}", _number(row.score),
            _number(row.twin_score), _counts(row.first_checks), _counts(row.other_checks), style=style,
        )  # fmt: skip
    return table


def _healthy(rows: Sequence[Row]) -> Table:
    table = Table("healthy", "alarms", "s", "score", "worst", "floor", "first finding", "others", "ended", box=None)
    for row in rows:
        scores = [record.score for record in row.records if record.score is not None]
        table.add_row(
            row.case.name, f"{row.detected}/{len(row.records)}", f"{row.seconds / len(row.records):.1f}",
            _number(row.score), _number(min(scores, default=None)), f"{row.case.floor:.2f}", _counts(row.first_checks),
            _counts(row.other_checks), _counts(Counter(r.ended for r in row.records if r.ended != "passed")),
            style="" if row.ok else "red",
        )  # fmt: skip
    return table


def as_json(rows: Sequence[Row], totals: Totals) -> dict[str, Any]:
    return {
        "totals": asdict(totals) | {"missed": missed_targets(rows)},
        "groups": {name: asdict(group) | {"missed": group.missed} for name, group in totals_by_group(rows).items()},
        "cases": {
            row.case.name: {
                "family": row.case.family,
                "source": row.case.source,
                "set": row.case.set,
                "seen": row.case.seen,
                "healthy": row.case.healthy,
                "expect": sorted(row.case.expect),
                "counted": len(row.counted),
                "detected": row.detected,
                "cause_first": row.cause_first,
                "repaired": list(row.repaired),
                "score": row.score,
                "twin_score": row.twin_score,
                "runs": [asdict(record) for record in row.records],
            }
            for row in rows
        },
    }


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _counts(counts: Counter[str]) -> str:
    return ", ".join(name if n == 1 else f"{name} x{n}" for name, n in counts.most_common())
