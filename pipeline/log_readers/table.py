"""Tables of text: Lightning's metrics.csv, Keras' CSVLogger, and any other with a header and a separator."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path

from pipeline.errors import UserError
from pipeline.log_readers.columns import map_columns
from pipeline.log_readers.log import Log
from pipeline.log_readers.rows import add_rows

SEPARATORS = ",;\t|"
SAMPLE_LINES = 20
"""Lines that the separator is chosen from."""
MAX_LINE = 1_000_000
"""Letters of a line beyond which a file is no table."""
EMPTY = frozenset({"", "none", "null", "na", "n/a", "-"})


def read_table(path: Path, typed: Mapping[str, str]) -> Log:
    """Return the log in a table. `typed` maps roles to columns (`--column loss=cost`).

    Raises `UserError` for a file that is no table with a header, and for one without a loss.
    """
    try:
        with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
            lines = (line.replace("\0", "") for line in iter(lambda: file.readline(MAX_LINE), "") if _counts(line))
            sample = list(islice(lines, SAMPLE_LINES))
            header, separator = _read_header(path, sample)
            meanings = map_columns(header, typed)
            log = Log(_kind_of(header, path), path)
            log.pass_over(name for name in header if name and name not in meanings)
            whole = _whole_lines(chain(sample[1:], lines), header, separator)
            cells = csv.reader(whole, delimiter=separator)
            add_rows(log, _rows(cells, header, [name for name in header if name in meanings], separator), meanings)
    except (OSError, csv.Error) as error:
        raise UserError(f"{str(path)!r} cannot be read as a table: {error}.") from error
    return log.finish()


def _counts(line: str) -> bool:
    return bool(line.strip()) and not line.startswith("#")


def _read_header(path: Path, sample: Sequence[str]) -> tuple[list[str], str]:
    """Return the names of the columns, and the separator: the one that cuts the first lines into the most cells."""
    separator = max(SEPARATORS, key=lambda mark: min(line.count(mark) for line in sample[:2]) if sample else 0)
    if sample and separator not in sample[0]:
        separator = " "
    names = [name.strip() for name in next(csv.reader(sample[:1], delimiter=separator, skipinitialspace=True), [])]
    if (len(names) < 2 and len(sample) < 2) or not any(re.search("[A-Za-z]", name) for name in names):
        raise UserError(
            f"{str(path)!r} is no table of a training: expected a first line with names such as epoch,loss,val_loss "
            "and a line for each step or epoch."
        )
    return names, separator


def _whole_lines(lines: Iterable[str], header: Sequence[str], separator: str) -> Iterator[str]:
    """Yield the lines without a last one that a program is still writing."""
    for line in lines:
        if line.endswith(("\n", "\r")) or separator == " " or line.count(separator) >= len(header) - 1:
            yield line


def _rows(
    cells: Iterator[list[str]], header: Sequence[str], wanted: Sequence[str], separator: str
) -> Iterator[dict[str, float]]:
    """Yield the numbers of each line by column. What is no number is left out, and so is a header that is repeated."""
    places = [(header.index(name), name) for name in wanted]
    for line in cells:
        if separator == " ":
            line = [cell for cell in line if cell]
        row = {}
        for index, name in places:
            if index < len(line) and (value := parse_number(line[index], comma=separator == ";")) is not None:
                row[name] = value
        if row:
            yield row


def parse_number(text: str, *, comma: bool = False) -> float | None:
    """Return the number in a cell, also `nan`, `inf`, `93.1%` and `tensor(0.5)`; None for an empty cell or a word."""
    text = text.strip()
    try:
        return float(text)
    except ValueError:
        pass
    if text.lower() in EMPTY:
        return None
    text = text.replace(",", ".") if comma else text
    match = re.match(r"(?:tensor\()?\s*([-+]?(?:\d+\.?\d*(?:[eE][-+]?\d+)?|nan|inf))\s*(%?)", text)
    if match is None:
        return None
    return float(match[1]) / (100 if match[2] else 1)


def _kind_of(header: Sequence[str], path: Path) -> str:
    if path.name == "metrics.csv" and {"epoch", "step"} <= set(header):
        return "a metrics.csv of Lightning"
    return "a table"
