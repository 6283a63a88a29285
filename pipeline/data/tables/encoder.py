"""Columns of a table as the inputs of a network: numbers with what is missing filled in, categories as one-hot columns.

Everything is fitted to the training rows alone, and kept as plain data, so that new rows are encoded in the same way.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from pipeline.data.tables.cell_values import DATE, PERCENT, PLAIN, Floats, is_missing, parse_numbers
from pipeline.data.tables.text_file import counted
from pipeline.errors import UserError, did_you_mean, list_names

MAX_CATEGORIES = 100
"""Values of one column that have an input of their own; the less frequent ones share one."""
MIN_CATEGORY_ROWS = 5
"""Training rows from which a value has an input of its own, where there are 100 or more rows."""
MAX_RARE = 1000
"""Rare values of one column that are kept, to tell them from values that training never had."""
_EXAMPLE = {PLAIN: "3.5", PERCENT: "50%", DATE: "2024-01-31"}
_PRECISION = 1e-4  # deviation / size, below which float32 would lose digits of a value


@dataclass(frozen=True)
class Column(ABC):
    """Interface of a column that is fitted: `encode` gives one or more inputs of each row."""

    kind: ClassVar[str]
    name: str
    missing: bool
    """Whether training rows miss the value: then an input says where it is missing."""

    @abstractmethod
    def encode(self, cells: Sequence[str]) -> list[Floats]:
        """Return the inputs (N,) of the column."""

    @property
    @abstractmethod
    def inputs(self) -> list[str]:
        """The names of the inputs."""

    def state(self) -> dict[str, Any]:
        """Return plain data from which `TableEncoder.from_state` builds the same column."""
        return {"kind": self.kind, **asdict(self)}


@dataclass(frozen=True)
class NumberColumn(Column):
    """The number minus `offset`; a missing one is `mean`. With `comma`, 3,5 is a number as 3.5 is.

    `form` says how the cells write it, as `number_form` returns.

    `offset` is 0 unless float32 has too few digits for numbers that differ little, such as times in seconds.
    """

    kind = "number"
    mean: float
    offset: float
    comma: bool
    form: str = PLAIN

    @classmethod
    def fit(cls, name: str, numbers: Floats, *, comma: bool, form: str = PLAIN) -> NumberColumn:
        """Return the column fitted to the training rows `numbers` (N,), of which NaN ones are missing."""
        known = numbers[~np.isnan(numbers)]
        mean = float(known.mean()) if len(known) else 0.0
        offset = mean if len(known) and 0 < known.std() < _PRECISION * np.abs(known).max() else 0.0
        return cls(name, len(known) < len(numbers), mean, offset, comma, form)

    def encode(self, cells: Sequence[str]) -> list[Floats]:
        numbers = parse_numbers(cells, comma=self.comma, form=self.form)
        if numbers is None:
            words = [cell for cell in set(cells) if not is_missing(cell)]
            if words:
                word = next(w for w in words if parse_numbers([w], comma=self.comma, form=self.form) is None)
                like = "" if self.form == PLAIN else f" such as {_EXAMPLE[self.form]}"
                raise UserError(f"the column {self.name!r} must hold numbers{like}, but has {word!r}.")
            numbers = np.full(len(cells), np.nan)
        unknown = np.isnan(numbers)
        filled = np.where(unknown, self.mean, numbers) - self.offset
        return [filled, unknown.astype(np.float64)] if self.missing else [filled]

    @property
    def inputs(self) -> list[str]:
        return [self.name, f"{self.name} is missing"] if self.missing else [self.name]


@dataclass(frozen=True)
class CategoryColumn(Column):
    """One input for each of `values`, 1 where the cell is that value; with `rare`, one more for all other values.

    Without it, a value that the training rows do not have gives zeros only.
    """

    kind = "categories"
    values: tuple[str, ...]
    rare: bool
    rare_values: tuple[str, ...] = ()
    """The values that share the input; none where they are more than `MAX_RARE`."""

    @classmethod
    def fit(cls, name: str, cells: Sequence[str]) -> CategoryColumn:
        """Return the column fitted to the cells of the training rows."""
        counts = Counter(cell for cell in cells if not is_missing(cell))
        least = MIN_CATEGORY_ROWS if len(cells) >= 100 else 1
        frequent = [value for value, count in counts.most_common(MAX_CATEGORIES) if count >= least]
        rare = sorted(counts.keys() - frequent)
        kept = tuple(rare) if len(rare) <= MAX_RARE else ()
        return cls(name, sum(counts.values()) < len(cells), tuple(sorted(frequent)), bool(rare), kept)

    def find_new(self, cells: Sequence[str]) -> dict[str, int]:
        """Return the values that no training row has, and their numbers of cells; none where that is not known."""
        if self.rare and not self.rare_values:
            return {}
        known = {*self.values, *self.rare_values}
        counts = Counter(cells)
        return {cell: n for cell, n in counts.items() if cell not in known and not is_missing(cell)}

    def encode(self, cells: Sequence[str]) -> list[Floats]:
        index = {value: i for i, value in enumerate(self.values)}
        rare, missing = len(self.values), len(self.values) + int(self.rare)
        columns = [np.zeros(len(cells)) for _ in self.inputs]
        for row, cell in enumerate(cells):
            at = missing if is_missing(cell) else index.get(cell, rare if self.rare else len(columns))
            if at < len(columns):
                columns[at][row] = 1
        return columns

    @property
    def inputs(self) -> list[str]:
        own = [f"{self.name}={value}" for value in self.values]
        return own + self.rare * [f"{self.name} is rare"] + self.missing * [f"{self.name} is missing"]


@dataclass(frozen=True)
class TableEncoder:
    """Turns the cells of named columns into inputs (N, D) float32."""

    columns: tuple[Column, ...]

    def __call__(self, cells: Mapping[str, Sequence[str]]) -> NDArray[np.float32]:
        """Return the inputs of N rows. Raises `UserError` where a column is absent, or holds words for numbers."""
        absent = [column.name for column in self.columns if column.name not in cells]
        if absent:
            meant = did_you_mean(absent[0], cells)
            raise UserError(f"there must be the columns {', '.join(map(repr, absent))}, which the table lacks.{meant}")
        encoded = [values for column in self.columns for values in column.encode(cells[column.name])]
        with np.errstate(over="ignore"):  # beyond float32 becomes infinite, which `validate_data` refuses
            return np.stack(encoded, axis=1).astype(np.float32)

    def describe_new(self, cells: Mapping[str, Sequence[str]]) -> list[str]:
        """Return a sentence for each column of categories with values that no training row has."""
        sentences = []
        for column in self.columns:
            found = column.find_new(cells[column.name]) if isinstance(column, CategoryColumn) else {}
            if found:
                names = list_names([repr(value) for value in found], most=5)
                rows = counted(sum(found.values()), "row")
                sentences.append(f"{column.name}: {names} in {rows}, which no training row has")
        return sentences

    @property
    def inputs(self) -> list[str]:
        """The names of the D inputs."""
        return [name for column in self.columns for name in column.inputs]

    def state(self) -> dict[str, Any]:
        """Return plain data from which `from_state` builds the same encoder."""
        columns = [column.state() for column in self.columns]
        return {"kind": "table", "columns": columns, "inputs": self.inputs}

    @staticmethod
    def from_state(state: Mapping[str, Any]) -> TableEncoder:
        """Return the encoder whose `state()` is `state`."""
        columns: list[Column] = []
        for fields in state["columns"]:
            values = {key: value for key, value in fields.items() if key != "kind"}
            if fields["kind"] == NumberColumn.kind:
                columns.append(NumberColumn(**values))
            else:
                tuples = {key: tuple(value) for key, value in values.items() if isinstance(value, (list, tuple))}
                columns.append(CategoryColumn(**values | tuples))
        return TableEncoder(tuple(columns))
