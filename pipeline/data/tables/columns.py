"""Which columns of a table become inputs of a network, as what, and what is left out."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.data.tables.cell_values import DATE, Floats, is_missing, number_form, parse_numbers
from pipeline.data.tables.encoder import MIN_CATEGORY_ROWS, CategoryColumn, Column, NumberColumn, TableEncoder
from pipeline.data.tables.outliers import describe_outlier
from pipeline.data.tables.text_file import NUMBER, TextTable, counted
from pipeline.errors import UserError, list_names

AUTO = "auto"
_MOSTLY = 0.9  # share of numbers from which a word among them is a mistake
_MANY = 20  # different values, at least, of identifiers, free text, and numbers that a word may spoil
_ID_NAME = re.compile(r"(^|[\W_])(id|uuid|index|row|nr|no)$|[a-z]I[Dd]$|^(unnamed|column \d)", re.IGNORECASE)


def choose_columns(
    table: TextTable, taken: Collection[str], train: NDArray[np.int64], *, drop: Any, categories: Any
) -> tuple[TableEncoder, list[str]]:
    """Return the encoder of the columns that are not `taken`, fitted to the rows `train`, and notes about them.

    Columns of numbers are numbers, and so are percentages and dates; other ones are categories, as are those that
    `categories` names. `drop` names columns that are left out; auto leaves out those that tell examples apart and teach
    nothing: numbers that count the rows, and words of which more than half are different. Empty columns are left out,
    and categories of which every value is rare.

    Raises `UserError` (`drop`, `categories`) for names that the table lacks, and (`path`) for a column of numbers with
    a word in it, and where no column is left.
    """
    forced = _names(table, categories, "categories")
    dropped = [] if drop == AUTO else _names(table, drop, "drop")
    columns: list[Column] = []
    notes: dict[str, list[str]] = {"identifiers": [], "empty": [], "rare": [], "outliers": []}
    for name, cells in table.columns.items():
        if name in taken or name in dropped:
            continue
        comma, form = table.separator != ",", number_form(cells)
        numbers = None if name in forced else parse_numbers(cells, comma=comma, form=form)
        if all(map(is_missing, set(cells))):
            notes["empty"].append(name)
        elif drop == AUTO and name not in forced and _is_identifier(name, cells, numbers):
            notes["identifiers"].append(name)
        elif numbers is not None:
            _check_finite(table, name, numbers)
            notes["outliers"] += describe_outlier(table, name, numbers)
            columns.append(NumberColumn.fit(name, numbers[train], comma=comma, form=form))
        else:
            if name not in forced:
                _check_words(table, name, cells)
            column = CategoryColumn.fit(name, [cells[row] for row in train.tolist()])
            if column.inputs == [f"{name} is rare"]:
                notes["rare"].append(name)
            else:
                columns.append(column)
    if not columns:
        raise UserError(
            f"{table.file} has no column left that could be an input. {table.describe_columns()} data.drop=[] keeps "
            "those that look like identifiers.",
            field="path",
        )
    encoder = TableEncoder(tuple(columns))
    new = encoder.describe_new(table.columns)
    return encoder, [*_describe_left_out(notes), *_describe(columns), *new, *notes["outliers"]]


def check_leaks(table: TextTable, encoder: TableEncoder, labels: Sequence[str]) -> None:
    """Raise `UserError` (`path`) where a column tells the label: it is equal to it, or renames its values.

    `labels` are the N cells of the label.
    """
    numbers = parse_numbers(labels, comma=table.separator != ",", form=number_form(labels))
    different = len(set(labels))
    if len(labels) < _MANY or different < 2:
        return
    for column in encoder.columns:
        cells = table.columns[column.name]
        renames = len(set(cells)) == different == len(set(zip(cells, labels, strict=True)))
        if renames and different > len(labels) / 2:  # of numbers that hardly repeat, any two columns pair like that
            comma, form = table.separator != ",", column.form if isinstance(column, NumberColumn) else None
            values = None if form is None else parse_numbers(cells, comma=comma, form=form)
            renames = _is_linear(values, numbers)
        if renames:
            raise UserError(
                f"{table.file}: the column {column.name!r} tells the label exactly: each of its values belongs to one "
                f"value of the label. A network would copy it. Leave it out: data.drop=[{column.name!r}]",
                field="path",
            )


def _is_linear(values: Floats | None, numbers: Floats | None) -> bool:
    """Return whether one column of numbers is the other times a factor, plus a constant."""
    if (
        values is None
        or numbers is None
        or np.isnan(values).any()
        or np.isnan(numbers).any()
        or not values.std()
        or not numbers.std()
    ):
        return False
    return bool(abs(np.corrcoef(values, numbers)[0, 1]) > 1 - 1e-12)


def _names(table: TextTable, value: Any, field: str) -> list[str]:
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise UserError(f"expected a list of columns such as [id, name], got {value!r}.", field=field)
    for name in value:
        table.column(name, field=field)
    return [str(name) for name in value]


def _is_identifier(name: str, cells: Sequence[str], numbers: Floats | None) -> bool:
    known = [cell for cell in cells if not is_missing(cell)]
    different = len(set(known))
    if different <= _MANY:
        return False
    if numbers is None:
        return different > len(known) / 2 and not _is_mostly_numbers(known)
    if different < len(cells) or (numbers != numbers.round()).any():
        return False
    return bool(_ID_NAME.search(name)) or bool((np.diff(numbers) == 1).all())


def _is_mostly_numbers(known: Sequence[str]) -> bool:
    return sum(bool(NUMBER.fullmatch(cell)) for cell in known) >= _MOSTLY * len(known)


def _check_words(table: TextTable, name: str, cells: Sequence[str]) -> None:
    """Raise `UserError` where hardly any cell of a column is a word, so that the words are mistakes."""
    known = [cell for cell in cells if not is_missing(cell)]
    if len(set(known)) <= _MANY or not _is_mostly_numbers(known):
        return
    row = next(i for i, cell in enumerate(cells) if not is_missing(cell) and not NUMBER.fullmatch(cell))
    raise UserError(
        f"{table.file}: the column {name!r} holds numbers, but {cells[row]!r} in line {table.lines[row]} is none. "
        f"Correct it, or empty the cell if the value is missing. If it holds names: data.categories=[{name!r}]",
        field="path",
    )


def _check_finite(table: TextTable, name: str, numbers: Floats) -> None:
    infinite = np.flatnonzero(np.abs(numbers) > 3e38)
    if len(infinite):
        row = int(infinite[0])
        raise UserError(
            f"{table.file}: the numbers in {name!r} must be below 3e38, but line {table.lines[row]} has "
            f"{table.columns[name][row]!r}. Correct it, or empty the cell if the value is missing.",
            field="path",
        )


def _describe_left_out(notes: dict[str, list[str]]) -> list[str]:
    sentences = []
    if names := notes["identifiers"]:
        sentences.append(f"left out as identifiers or free text: {list_names(names, most=5)} (data.drop=[] keeps them)")
    if names := notes["empty"]:
        sentences.append(f"left out, since they are empty: {list_names(names, most=5)}")
    if names := notes["rare"]:
        sentences.append(
            f"left out, since each value is in fewer than {MIN_CATEGORY_ROWS} training rows: "
            f"{list_names(names, most=5)}"
        )
    return sentences


def _describe(columns: Sequence[Column]) -> list[str]:
    """Return a sentence about the kinds of columns, and one about missing values."""
    n_numbers = sum(isinstance(column, NumberColumn) for column in columns)
    categories = [column for column in columns if isinstance(column, CategoryColumn)]
    n_inputs = sum(len(column.inputs) for column in columns)
    words = f"{n_numbers} of numbers" + (
        f", {len(categories)} of categories with an input for each value: "
        + list_names([f"{column.name} ({len(column.values)})" for column in categories], most=5)
        if categories
        else ""
    )
    verb = "gives" if len(columns) == 1 else "give"
    sentences = [f"{counted(len(columns), 'column')} {verb} {counted(n_inputs, 'input')}: {words}"]
    if dates := [column.name for column in columns if isinstance(column, NumberColumn) and column.form == DATE]:
        sentences.append(f"dates are numbers of days: {list_names(dates, most=5)} (data.drop=[...] leaves them out)")
    if rare := [column.name for column in categories if column.rare]:
        sentences.append(f"rare values share one input: {list_names(rare, most=5)}")
    if missing := [column.name for column in columns if column.missing]:
        sentences.append(
            f"values are missing in {list_names(missing, most=5)}: numbers get the mean of the training rows, "
            "and each column an "
            "input that says so"
        )
    return sentences
