"""The table of measured against expected values of a stage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pipeline.report.blocks import Table
from pipeline.report.stage_view import ExpectedValue

_MARKS = {"failure": "✕ failure", "warning": "! warning", "info": "i info"}


def expected_table(rows: Sequence[ExpectedValue], severities: Mapping[str, str]) -> Table | None:
    """Return the table, or None without rows. `severities` maps each check with a finding to its severity.

    A row is marked by the finding of its own checks. Without one it has a tick only if its numbers hold: the
    finding may be missing because its cause was reported instead.
    """
    if not rows:
        return None
    cells = [[_mark(row, severities), row.what, row.measured, row.expected] for row in rows]
    return Table(["", "what", "measured", "expected"], cells, sortable=False, wide=False)


def _mark(row: ExpectedValue, severities: Mapping[str, str]) -> str:
    found = next((severities[check] for check in row.checks if check in severities), None)
    return _MARKS[found] if found else "✓" if row.holds else ""
