"""What the cells of a table say: a missing value, a number, a percentage, or a date."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, timezone

import numpy as np
from numpy.typing import NDArray

from pipeline.data.tables.text_file import NUMBER

MISSING = frozenset(
    ["", "na", "n/a", "#n/a", "nan", "-nan", "<na>", "null", "none", "nil", "?", "-", "#null!", "#div/0!", "missing"]
)
"""Cells that stand for a missing value, in lower case."""
PLAIN, PERCENT, DATE = "number", "percent", "date"
"""How the cells of a column write its numbers: 0.5, 50% (a half), or 2024-01-31 (days since 1970)."""
_DATE = re.compile(r"\d{4}[-/]\d\d[-/]\d\d([ T]\d\d:\d\d(:\d\d(\.(\d{3}|\d{6}))?)?(Z|[+-]\d\d:\d\d)?)?")
_DAY = 86400.0  # seconds

Floats = NDArray[np.float64]


def is_missing(cell: str) -> bool:
    return cell.lower() in MISSING


def number_form(cells: Sequence[str]) -> str:
    """Return how cells write numbers: as percentages or dates where all do that have a value, plain otherwise."""
    known = [cell for cell in set(cells) if not is_missing(cell)]
    if known and all(cell.endswith("%") for cell in known):
        return PERCENT
    return DATE if known and all(_DATE.fullmatch(cell) for cell in known) else PLAIN


def parse_numbers(cells: Sequence[str], *, comma: bool = False, form: str = PLAIN) -> Floats | None:
    """Return cells as numbers (N,), NaN where one is missing; None if some cell is a word, or none is a number.

    With `comma`, 3,5 is a number as 3.5 is.
    """
    values = {}  # of the different cells, since most columns repeat theirs
    for cell in set(cells):
        value = np.nan if is_missing(cell) else _parse(cell, comma, form)
        if value is None:
            return None
        values[cell] = value
    numbers = np.array([values[cell] for cell in cells], np.float64)
    return None if np.isnan(numbers).all() else numbers


def _parse(cell: str, comma: bool, form: str) -> float | None:
    if form == DATE:
        return _parse_date(cell)
    if form == PERCENT:
        if not cell.endswith("%"):
            return None
        cell = cell[:-1].rstrip()
    text = cell.replace(",", ".") if comma and cell.count(",") == 1 else cell
    if not NUMBER.fullmatch(text):
        return None
    return float(text) / 100 if form == PERCENT else float(text)


def _parse_date(cell: str) -> float | None:
    """Return the days since 1970; without a zone the time is UTC."""
    if not _DATE.fullmatch(cell):
        return None
    try:
        time = datetime.fromisoformat(cell.replace("/", "-").replace("Z", "+00:00"))
    except ValueError:  # as the 31st of February
        return None
    return (time if time.tzinfo else time.replace(tzinfo=timezone.utc)).timestamp() / _DAY
