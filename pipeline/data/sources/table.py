"""A text file of columns: image files with their labels, or numbers and categories."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pipeline.data.dataset import Images, Source
from pipeline.data.pixels import Pixels, select_rows
from pipeline.data.sources.decode_files import FilesRead, decode_files
from pipeline.data.sources.image_files import FITS, ImageReader
from pipeline.data.splits import split
from pipeline.data.tables.columns import check_leaks, choose_columns
from pipeline.data.tables.image_column import find_image_column, find_image_files
from pipeline.data.tables.roles import check_distinct, find_labels, find_splits, read_groups, read_weights
from pipeline.data.tables.targets import Targets, read_targets
from pipeline.data.tables.text_file import TextTable, read_table
from pipeline.data.validate import validate_data
from pipeline.errors import UserError, list_names
from pipeline.signals.schema import Data
from pipeline.validation import boolean, one_of


@dataclass(frozen=True)
class _Rows:
    """What the rows of a table say beside their inputs, and which rows are in which split."""

    table: TextTable
    labels: Sequence[str]
    targets: Targets
    splits: Mapping[str, Tensor]
    groups: Tensor | None
    weights: Tensor | None

    def source(self, pixels: Pixels, *, rows: Sequence[int] | None = None, **fields: Any) -> Source:
        """Return a source of `pixels`, which are those of `rows`, by default of all."""
        kept = torch.arange(len(self.table)) if rows is None else torch.tensor(rows)
        named = {}
        for name, members in self.splits.items():
            at = torch.nonzero(torch.isin(kept, members)).flatten()
            named[name] = Images(
                select_rows(pixels, at),
                self.targets.labels[kept[at]],
                None if self.groups is None else self.groups[kept[at]],
                None if self.weights is None else self.weights[kept[at]],
            )
        return Source(
            name=self.table.file.stem,
            train=named["train"],
            val=named.get("val"),
            test=named.get("test"),
            classes=self.targets.classes,
            task=self.targets.task,
            path=str(self.table.file),
            **fields,
        )


def table(
    *,
    path: str,
    label: str | Sequence[str] | None,
    task: str,
    label_separator: str | None,
    split_column: str | None,
    groups: str | None,
    weights: str | None,
    drop: Any,
    categories: Any,
    path_column: str | None,
    images: str | None,
    size: Any,
    fit: str,
    background: Any,
    grayscale: bool,
    on_error: str,
    validation: float,
    test: float,
    split_seed: int,
) -> Source:
    """Return the rows of a text file (.csv, .tsv, plain or .gz) whose first line names the columns.

    `label` names the column or columns to predict (`read_targets` says what they mean). Where a column names image
    files, the images are the inputs, read as `image_folder` reads them. Otherwise all columns are inputs but those with
    a role and those of `drop`, as `choose_columns` says: numbers and one-hot categories, float32 of shape (N, D, 1, 1).
    What of these is fitted, is fitted to the training rows, so the splits are cut here, with `validation`, `test` and
    `split_seed`, where `split_column` does not name them.

    `groups` names a column of what a row shows: no value of it is in two splits. `weights` names one that says how much
    each row counts. Raises `UserError` with the key at fault.
    """
    one_of("on_error", on_error, ("refuse", "skip"))
    reader = ImageReader(size, boolean("grayscale", grayscale), one_of("fit", fit, FITS), background)
    if label_separator is not None and not (isinstance(label_separator, str) and label_separator):
        raise UserError(f"expected a character such as ';', got {label_separator!r}.", field="label_separator")
    split_column, groups, weights, path_column, images = (
        None if value is None else str(value) for value in (split_column, groups, weights, path_column, images)
    )
    text = read_table(path)
    labels = find_labels(text, label)
    split_column, splits = find_splits(text, split_column)
    roles = {"label": labels, "split_column": split_column, "groups": groups, "weights": weights}
    dropped = [str(name) for name in drop] if isinstance(drop, Sequence) and not isinstance(drop, str) else []
    check_distinct({**roles, "path_column": path_column}, dropped)
    targets = read_targets(text, labels, task=task, separator=label_separator)
    rows = _Rows(
        text,
        text.columns[labels[0]],
        targets,
        splits,
        read_groups(text, groups),
        read_weights(text, weights),
    )
    taken = {*labels, *(column for column in (split_column, groups, weights) if column is not None)}
    image_column = find_image_column(text, {*taken, *dropped}, column=path_column, images=images)
    if image_column is not None:
        return _images(rows, image_column, reader, images=images, on_error=on_error)
    where = {"validation": validation, "test": test, "seed": split_seed}
    return _numbers(rows, taken, drop=drop, categories=categories, where=where)


def _images(rows: _Rows, column: str, reader: ImageReader, *, images: str | None, on_error: str) -> Source:
    root, files, found = find_image_files(rows.table, column, images=images, on_error=on_error)
    notes = _first_notes(rows)
    if n_missing := len(rows.table) - len(files):
        notes.append(f"{n_missing} files in the column {column} do not exist and are left out")

    def describe(read: FilesRead) -> Data:
        left_out = f"{len(read.errors)} files cannot be read and are left out: {list_names(list(read.errors), most=5)}"
        return {"notes": [left_out]} if read.errors else {}

    pixels = decode_files(files, reader, root=root, on_error=on_error, describe=describe)
    scale = 1 / 65535 if pixels.dtype == torch.int32 else 1 / 255
    return rows.source(
        pixels, rows=found, scale=scale, loading={"notes": notes} if notes else {}, reading=reader.reading()
    )


def _numbers(rows: _Rows, taken: set[str], *, drop: Any, categories: Any, where: Mapping[str, Any]) -> Source:
    """Return the rows as numbers; what of that is fitted, is fitted to the training rows that `where` cuts."""
    numbered = rows.source(torch.arange(len(rows.table), dtype=torch.int32).view(-1, 1, 1, 1), scale=1.0)
    validate_data(numbered)
    cut = {name: part.pixels[:].flatten().long() for name, part in split(numbered, limit=None, **where).splits.items()}
    encoder, notes = choose_columns(rows.table, taken, cut["train"].numpy(), drop=drop, categories=categories)
    check_leaks(rows.table, encoder, rows.labels)
    pixels = torch.from_numpy(encoder(rows.table.columns))[:, :, None, None]
    fitted = _Rows(rows.table, rows.labels, rows.targets, cut, rows.groups, rows.weights)
    loading: Data = {"notes": [*_first_notes(rows), *notes]}
    return fitted.source(pixels, scale=1.0, loading=loading, reading=encoder.state())


def _first_notes(rows: _Rows) -> list[str]:
    empty = rows.table.empty_lines
    return [*rows.targets.notes, *([f"{empty} empty lines are passed over"] if empty else [])]
