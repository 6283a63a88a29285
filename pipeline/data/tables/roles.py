"""Which columns of a table say something about an example instead of being an input: its split, group and weight."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from pipeline.data.groups import number_groups
from pipeline.data.tables.cell_values import is_missing, parse_numbers
from pipeline.data.tables.text_file import TextTable
from pipeline.errors import UserError, did_you_mean

SPLIT_NAMES = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}
"""What a cell may call each split, in lower case."""
LABEL_NAMES = ("label", "labels", "class", "target", "targets", "tags", "y")
"""What the label's column is usually called, in lower case."""
_SPLIT_OF = {name: split for split, names in SPLIT_NAMES.items() for name in names}


def find_labels(table: TextTable, label: str | Sequence[str] | None) -> list[str]:
    """Return the columns that are the label: those that `label` names, or with None the one with a usual name.

    Raises `UserError` (`label`) where the table lacks them, and where no column or several have a usual name.
    """
    if label is not None:
        names = [label] if isinstance(label, str) or not isinstance(label, Sequence) else list(label)
        if not names:
            raise UserError(f"must name a column. {table.describe_columns()}", field="label")
        for name in names:
            table.column(name, field="label")
        return [str(name) for name in names]
    usual = [name for name in table.columns if name.lower() in LABEL_NAMES]
    if len(usual) != 1:
        found = f"{len(usual)} columns could be it: {', '.join(usual)}" if usual else "no column has a usual name"
        raise UserError(
            f"name the column with the labels, since {found}: data.label={usual[0] if usual else 'NAME'}, or "
            f"data.label=[A,B] for several. {table.describe_columns()}",
            field="label",
        )
    return usual


def find_splits(table: TextTable, column: str | None) -> tuple[str | None, dict[str, Tensor]]:
    """Return the column that says which split each row is in, and the rows (M,) of each split.

    With `column` None it is the one called split, if its cells are names of splits; without one all rows are training.
    Raises `UserError` (`split_column`) for other cells, and where no row is for training.
    """
    if column is None:
        usual = [name for name in table.columns if name.lower() == "split"]
        if not usual or {cell.lower() for cell in table.columns[usual[0]]} - _SPLIT_OF.keys():
            return None, {"train": torch.arange(len(table))}
        column = usual[0]
    cells = table.column(column, field="split_column")
    wrong = [row for row, cell in enumerate(cells) if cell.lower() not in _SPLIT_OF]
    if wrong:
        cell = cells[wrong[0]]
        raise UserError(
            f"{table.file}: the cells of {column!r} must be train, val or test, but {len(wrong)} are not: the first is "
            f"{cell!r} in line {table.lines[wrong[0]]}.{did_you_mean(cell, _SPLIT_OF)}",
            field="split_column",
        )
    names = np.array([_SPLIT_OF[cell.lower()] for cell in cells])
    rows = {split: torch.from_numpy(np.flatnonzero(names == split)) for split in SPLIT_NAMES if (names == split).any()}
    if "train" not in rows:
        raise UserError(f"{table.file}: no cell of {column!r} is train.", field="split_column")
    return column, rows


def read_groups(table: TextTable, column: str | None) -> Tensor | None:
    """Return the number of each row's group (N,); None without a column. Raises `UserError` (`groups`)."""
    if column is None:
        return None
    cells = table.column(column, field="groups")
    if empty := [row for row, cell in enumerate(cells) if not cell]:
        raise UserError(
            f"{table.file}: each line needs a group, but {column!r} is empty in {len(empty)}: the first is line "
            f"{table.lines[empty[0]]}.",
            field="groups",
        )
    return number_groups(cells)


def read_weights(table: TextTable, column: str | None) -> Tensor | None:
    """Return the weight of each row (N,) float32; None without a column. Raises `UserError` (`weights`)."""
    if column is None:
        return None
    cells = table.column(column, field="weights")
    values = parse_numbers(cells, comma=table.separator != ",")
    wrong = [
        row
        for row, cell in enumerate(cells)
        if is_missing(cell) or values is None or not 0 <= values[row] < float(np.finfo(np.float32).max)
    ]
    if wrong:
        raise UserError(
            f"{table.file}: weights must be numbers from 0, but {column!r} has {cells[wrong[0]]!r} in line "
            f"{table.lines[wrong[0]]}.",
            field="weights",
        )
    weights = torch.from_numpy(np.asarray(values)).float()
    if not bool(weights.any()):
        raise UserError(f"{table.file}: all weights in {column!r} are 0.", field="weights")
    return weights


def check_distinct(roles: Mapping[str, str | Sequence[str] | None], dropped: Collection[str]) -> None:
    """Raise `UserError` where a column has two roles; `roles` are columns by the key that names them."""
    seen: dict[str, str] = {}
    for key, value in roles.items():
        for column in [value] if isinstance(value, str) else value or ():
            if column in seen and seen[column] != key:
                raise UserError(f"the column {column!r} is already data.{seen[column]}.", field=key)
            if column in dropped:
                raise UserError(f"the column {column!r} is needed as data.{key}.", field="drop")
            seen[column] = key
