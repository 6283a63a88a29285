"""Numbers of a table that lie so far from the others that these look alike beside them."""

from __future__ import annotations

import numpy as np

from pipeline.data.tables.cell_values import Floats
from pipeline.data.tables.text_file import TextTable

FAR = 1e4
"""Widths of the middle half of a column (its interquartile range) from the median, beyond which a number is named."""


def describe_outlier(table: TextTable, name: str, numbers: Floats) -> list[str]:
    """Return a sentence about the number in the column `name` that is furthest from its median, if it is too far.

    Where half of the numbers are equal, the standard deviation of the others is the width.
    """
    distances = np.abs(numbers - np.nanmedian(numbers))
    row = int(np.nanargmax(distances))
    low, high = np.nanpercentile(numbers, [25, 75])
    with np.errstate(over="ignore"):
        width = high - low or np.nanstd(np.delete(numbers, row)) if np.isfinite(numbers).sum() > 1 else 0.0
    if not 0 < width < distances[row] / FAR:
        return []
    return [
        f"{name} has {table.columns[name][row]} in line {table.lines[row]}, {distances[row] / width:.0e} times as far "
        "from the median as the middle half of the values is wide: beside it the others look alike. If it is a "
        "mistake, correct it or empty the cell"
    ]
