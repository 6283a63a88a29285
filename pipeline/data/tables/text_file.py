"""A text file of columns (.csv, .tsv, plain or .gz) as lists of cells."""

from __future__ import annotations

import csv
import gzip
import io
import re
import sys
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from pipeline.errors import UserError, did_you_mean, list_names

SEPARATORS = (",", ";", "\t", "|")
NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")
"""What is read as a number, in full."""
_LOOKED_AT = 50  # records that decide which character separates the columns
_SHOWN = 5  # names that an error lists
_FOREIGN = {
    b"PK\x03\x04": "a zip archive, as .npz and .xlsx are. data=npz reads .npz; save a spreadsheet as csv",
    b"PAR1": "a Parquet file. data=huggingface reads it",
    b"\x89HDF": "an HDF5 file. Save its table as csv",
    b"\x93NUMPY": "a single array (.npy). Save it with numpy.savez(path, x_train=.., y_train=..) and use data=npz",
    b"SQLite": "a database. Save one of its tables as csv",
    b"\xd0\xcf\x11\xe0": "an old spreadsheet. Save it as csv",
    b"BZh": "compressed with bzip2. Unpack it, or compress it with gzip",
    b"\xfd7zXZ": "compressed with xz. Unpack it, or compress it with gzip",
}


@dataclass(frozen=True)
class TextTable:
    """The cells of a file: `columns` maps names to N cells without outer blanks; `lines` (N,) number their lines."""

    file: Path
    columns: Mapping[str, list[str]]
    lines: Sequence[int]
    separator: str
    empty_lines: int = 0

    def __len__(self) -> int:
        return len(self.lines)

    def column(self, name: str | int, *, field: str) -> list[str]:
        """Return the cells of a column. Raises `UserError` (`field`) where the file has none of that name."""
        name = str(name)  # a column that is called 784 comes as a number
        if name not in self.columns:
            meant = did_you_mean(name, self.columns)
            raise UserError(f"{self.file} has no column {name!r}.{meant} {self.describe_columns()}", field=field)
        return self.columns[name]

    def describe_columns(self) -> str:
        """Return a sentence that lists the columns."""
        return f"Its columns are {list_names(list(self.columns), most=20)}."


def counted(n: int, word: str) -> str:
    """Return the number and the word, with an s unless there is one: `1 row`, `1,200 rows`."""
    return f"{n:,} {word}{'s' * (n != 1)}"


def read_table(path: str | Path) -> TextTable:
    """Return the cells of a text file whose first line names the columns.

    The separator is found: a comma, a semicolon, a tab or a bar. The text is UTF-8, or UTF-16 with its mark. Cells may
    be quoted. Lines without any value are passed over and counted.

    Raises `UserError` (`path`) when the file does not exist, is no text, or has no header, no lines or only one column;
    and naming the line where one has another number of cells, or a quote is not closed.
    """
    file = Path(path).expanduser()
    text = _decode(file, _read_bytes(file))
    if not text.strip():
        raise _error(file, "is empty: the first line must name the columns.")
    separator = _find_separator(file, text)
    records = _records(file, text, separator)
    _, header = next(records)
    names = _name_columns(file, header)
    cells: list[list[str]] = [[] for _ in names]
    lines, empty = [], 0
    for line, record in records:
        if not any(record):
            empty += 1
            continue
        if len(record) != len(names):
            raise _error(
                file,
                f"must have {len(names)} cells in each line, as many as its header has names, but line {line} has "
                f"{len(record)}. Correct that line, or quote the cells in which {separator!r} is a part of the text.",
            )
        lines.append(line)
        for column, cell in zip(cells, record, strict=True):
            column.append(sys.intern(cell))
    if not lines:
        raise _error(file, f"has a header but no lines below it. Its columns would be {list_names(names, most=5)}.")
    columns = {name: column for name, column in zip(names, cells, strict=True) if name or any(column)}
    if "" in columns:  # an index that pandas wrote, whose name is empty
        columns = {name or f"column {names.index('') + 1}": column for name, column in columns.items()}
    return TextTable(file, columns, lines, separator, empty)


def _read_bytes(file: Path) -> bytes:
    try:
        content = file.read_bytes()
        return gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
    except FileNotFoundError:
        meant = did_you_mean(file.name, [other.name for other in file.parent.glob("*.*sv*")])
        raise _error(file, f"does not exist.{meant} Set data.path to a csv file.") from None
    except IsADirectoryError:
        found = sorted(other.name for other in file.glob("*.*sv*"))
        raise _error(
            file, f"is a folder. Name the file in it: it has {list_names(found, most=5) or 'no csv file'}."
        ) from None
    except (OSError, EOFError, zlib.error) as error:
        raise _error(file, f"cannot be read ({type(error).__name__}: {error}).") from error


def _decode(file: Path, content: bytes) -> str:
    for start, kind in _FOREIGN.items():
        if content.startswith(start):
            raise _error(file, f"is no text file but {kind}.")
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        encoding = "utf-16"
    elif b"\0" in content:
        raise _error(file, "is no text file: it has bytes of value 0.")
    else:
        encoding = "utf-8-sig"
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise _error(
            file,
            f"must be UTF-8, but line {line} has the byte 0x{content[error.start]:02x}, which is none. Save it as "
            "UTF-8; if it was written on Windows, `iconv -f WINDOWS-1252 -t UTF-8 OLD > NEW` does so.",
        ) from None


def _records(file: Path, text: str, separator: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the number of the last line, and the cells, of each record that is not blank."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True, skipinitialspace=True)
    start = 1
    try:
        for record in reader:
            if record:
                yield start, [cell.strip() for cell in record]
            start = reader.line_num + 1
    except csv.Error as error:
        raise _error(
            file, f"cannot be read at line {start}: {error}. Close the quotes there, and double those inside a cell."
        ) from None


def _find_separator(file: Path, text: str) -> str:
    """Return the character that cuts the first records into the same number of cells, and into the most."""
    best, most = "", (False, 1)
    for separator in SEPARATORS:
        counts: Counter[int] = Counter()
        try:
            for _, record in islice(_records(file, text, separator), _LOOKED_AT):
                counts[len(record)] += 1
        except UserError:
            counts[0] = 0  # not alike; if no other separator fits, `read_table` names the line
        width = counts.most_common(1)[0][0] if counts else 1
        score = (len(counts) == 1 and width > 1, width)
        if score > most:
            best, most = separator, score
    if not best:
        next(_records(file, text, ","))
        header = text.strip().splitlines()[0][:60]
        raise _error(
            file,
            f"must have at least two columns, but its first line is {header!r}, in which no comma, semicolon, tab or "
            "bar separates names.",
        )
    return best


def _name_columns(file: Path, header: Sequence[str]) -> list[str]:
    if _is_data(header):
        raise _error(
            file,
            f"must name its columns in the first line, but that is {list_names(header, most=5)!r}, which looks "
            "like data. Write "
            "a line of names above it.",
        )
    twice = [name for name, count in Counter(header).items() if count > 1 and name]
    if twice:
        raise _error(file, f"must name each column differently, but {list_names(twice, most=5)} occurs more than once.")
    if header.count("") > 1:
        raise _error(file, f"must name its columns, but {header.count('')} of the {len(header)} names are empty.")
    return list(header)


def _is_data(header: Sequence[str]) -> bool:
    """Return whether a first line is no header: it has a number, and its numbers do not count the columns."""
    numbers = [cell for cell in header if NUMBER.fullmatch(cell)]
    if not all(cell.isdigit() for cell in numbers):
        return True
    counted = [int(cell) for cell in numbers]
    return bool(counted) and counted != list(range(counted[0], counted[0] + len(counted)))


def _error(file: Path, problem: str) -> UserError:
    return UserError(f"{file} {problem}", field="path")
