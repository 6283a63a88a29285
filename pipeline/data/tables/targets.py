"""The label columns of a table as labels or targets: which task they mean, and the names of the classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipeline.data.dataset import CLASSIFICATION, MULTILABEL, REGRESSION, TASKS
from pipeline.data.tables.cell_values import Floats, is_missing, number_form, parse_numbers
from pipeline.data.tables.outliers import describe_outlier
from pipeline.data.tables.text_file import TextTable
from pipeline.errors import UserError
from pipeline.validation import one_of

AUTO = "auto"
FEW = 20
"""Different whole numbers up to which they are classes, where nothing says what they are."""
_TAG_SEPARATORS = (";", "|")
_NO_LABEL = ("", "nan", "<na>")
_TRUE, _FALSE = ("1", "1.0", "true", "yes"), ("0", "0.0", "false", "no")


@dataclass(frozen=True)
class Targets:
    """`labels` as in `Images`, the task that they mean, the names of classes or targets, and notes about the choice."""

    task: str
    labels: Tensor
    classes: tuple[str, ...]
    notes: tuple[str, ...] = ()


def read_targets(table: TextTable, names: Sequence[str], *, task: str, separator: str | None) -> Targets:
    """Return the columns `names` as labels.

    With task auto, one column of words, of true and false, or of at most 20 different whole numbers has classes; other
    numbers are targets; words with `separator` (by default a semicolon or a bar, if some cell has one) are several
    labels for one example; and so are several columns, if they hold zeros and ones only.

    Raises `UserError` (`label`) for empty cells, for words where numbers are needed, and (`task`) for values that are
    not of that task.
    """
    one_of("task", task, [AUTO, *TASKS])
    columns = {name: table.column(name, field="label") for name in names}
    if len(set(names)) < len(names):
        raise UserError(f"must name each column once, got {list(names)}.", field="label")
    if len(columns) > 1:
        return _read_several(table, columns, task)
    name, cells = next(iter(columns.items()))
    numbers = parse_numbers(cells, comma=table.separator != ",")
    if numbers is None and (task == REGRESSION or len(set(cells)) > FEW):
        numbers = parse_numbers(cells, comma=table.separator != ",", form=number_form(cells))
    if task != REGRESSION and numbers is not None and np.isnan(numbers).any() and len(set(cells)) <= FEW:
        numbers = None  # 1, 2 and none: the last one may be a class
    if separator is None and numbers is None and task in (AUTO, MULTILABEL):
        separator = next((one for one in _TAG_SEPARATORS if any(one in cell for cell in cells)), None)
    if separator is not None and task in (AUTO, MULTILABEL):
        return _read_tags(name, cells, separator)
    if task == MULTILABEL:
        raise UserError(
            f"several labels need a column of words such as 'red;round' (data.label_separator=';'), or several columns "
            f"of zeros and ones (data.label=[a,b]), but {name!r} has {cells[0]!r}.",
            field="task",
        )
    _check_present(table, name, [cell.lower() in _NO_LABEL for cell in cells])
    if task == REGRESSION or (task == AUTO and numbers is not None and not _are_classes(numbers)):
        return _read_numbers(table, {name: cells}, auto=task == AUTO)
    return _read_classes(table, name, cells, numbers, auto=task == AUTO)


def _read_several(table: TextTable, columns: Mapping[str, list[str]], task: str) -> Targets:
    if task == CLASSIFICATION:
        raise UserError(f"one class for each example is one column, but data.label names {len(columns)}.", field="task")
    different = {cell.lower() for cells in columns.values() for cell in cells}
    if task == REGRESSION or (task == AUTO and not different <= {*_TRUE, *_FALSE}):
        return _read_numbers(table, columns, auto=False)
    for name, cells in columns.items():
        wrong = [cell.lower() not in (*_TRUE, *_FALSE) for cell in cells]
        if any(wrong):
            row = wrong.index(True)
            raise UserError(
                f"{table.file}: labels in several columns are 0 or 1, but {name!r} has {cells[row]!r} in line "
                f"{table.lines[row]}.",
                field="label",
            )
    rows = np.array([[cell.lower() in _TRUE for cell in cells] for cells in columns.values()], np.float32).T
    return Targets(MULTILABEL, torch.from_numpy(rows.copy()), tuple(columns))


def _read_tags(name: str, cells: Sequence[str], separator: str) -> Targets:
    tags = [[tag.strip() for tag in cell.split(separator) if tag.strip()] for cell in cells]
    classes = sorted({tag for row in tags for tag in row})
    if not classes:
        raise UserError(f"the column {name!r} has no label in any line.", field="label")
    index = {tag: i for i, tag in enumerate(classes)}
    labels = torch.zeros(len(tags), len(classes))
    for i, row in enumerate(tags):
        labels[i, [index[tag] for tag in row]] = 1
    note = f"{name} has several labels for one example, separated by {separator!r}"
    return Targets(MULTILABEL, labels, tuple(classes), (note,))


def _read_numbers(table: TextTable, columns: Mapping[str, list[str]], *, auto: bool) -> Targets:
    targets = []
    outliers = []
    for name, cells in columns.items():
        _check_present(table, name, list(map(is_missing, cells)))
        comma, form = table.separator != ",", number_form(cells)
        numbers = parse_numbers(cells, comma=comma, form=form)
        if numbers is None:
            row = next(i for i, cell in enumerate(cells) if parse_numbers([cell], comma=comma, form=form) is None)
            raise UserError(
                f"{table.file}: targets must be numbers, but {name!r} has {cells[row]!r} in line {table.lines[row]}.",
                field="label",
            )
        targets.append(numbers)
        outliers += describe_outlier(table, name, numbers)
    notes = (f"{next(iter(columns))} is a number to predict (data.task=classification makes classes of it)",) * auto
    labels = torch.from_numpy(np.stack(targets, axis=1))
    return Targets(REGRESSION, labels, tuple(columns), (*notes, *outliers))


def _read_classes(table: TextTable, name: str, cells: Sequence[str], numbers: Floats | None, *, auto: bool) -> Targets:
    keys: Sequence[Any] = cells if numbers is None else numbers.tolist()  # as numbers, 1 and 1.0 are one class
    different = sorted(set(keys))
    if len(different) > max(FEW, len(cells) / 2):
        no_number = "" if numbers is not None else f", and {cells[0]!r} in line {table.lines[0]} is no number"
        raise UserError(
            f"{table.file}: {len(different)} different values in {len(cells)} lines of {name!r} are no classes"
            f"{no_number}. Name the column to predict: data.label=... {table.describe_columns()}",
            field="label",
        )
    index = {value: i for i, value in enumerate(different)}
    labels = torch.tensor([index[key] for key in keys], dtype=torch.int64)
    classes = tuple(str(int(v) if isinstance(v, float) and v.is_integer() else v) for v in different)
    note = f"the numbers in {name} are {len(classes)} classes (data.task=regression predicts them as numbers)"
    return Targets(CLASSIFICATION, labels, classes, (note,) * (auto and numbers is not None))


def _are_classes(numbers: Floats) -> bool:
    return bool((numbers == numbers.round()).all()) and len(np.unique(numbers)) <= FEW


def _check_present(table: TextTable, name: str, missing: Sequence[bool]) -> None:
    if any(missing):
        first = table.lines[missing.index(True)]
        raise UserError(
            f"{table.file}: each line needs a value of {name!r}, but {sum(missing)} of {len(missing)} have none: the "
            f"first is line {first}. Remove these lines, or label them.",
            field="label",
        )
