"""Inputs in a text file of columns: paths of images, or the columns of a table as the run encoded its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from pipeline.data.shuffle import EVALUATION_BATCH
from pipeline.data.tables.encoder import TableEncoder
from pipeline.data.tables.image_column import find_image_column
from pipeline.data.tables.text_file import TextTable, read_table
from pipeline.errors import UserError
from pipeline.prediction.input_format import TABLE, InputFormat

ENDINGS = (".csv", ".tsv", ".txt", ".csv.gz", ".tsv.gz", ".txt.gz")


class InputBatch(NamedTuple):
    """Inputs with their names: paths, or the file and the number of a row or line."""

    names: list[str]
    pixels: Tensor
    """(N, C, H, W)."""


def is_csv(path: Path) -> bool:
    """Return whether the ending of `path` says that it is a table of text."""
    return path.name.lower().endswith(ENDINGS)


def read_csv(
    path: Path, input_format: InputFormat, *, on_note: Callable[[str], object]
) -> Iterator[list[Path] | InputBatch]:
    """Yield the rows as inputs, or all paths of images at once, which are seen from the folder of the file.

    `on_note` gets a sentence for each column of categories with values that training never had. Raises `UserError`
    where the file has not the columns of the run, or none that names images.
    """
    try:
        table = read_table(str(path))
        if input_format.kind == TABLE:
            encoder = TableEncoder.from_state(input_format.reading)
            yield from _encoded_rows(table, encoder)
            for sentence in encoder.describe_new(table.columns):
                on_note(f"{path}: {sentence}")
        elif input_format.is_image:
            column = find_image_column(table, set(), column=None, images="")
            assert column is not None
            yield [path.parent / cell for cell in table.columns[column]]
        else:
            raise UserError("the run was not trained on a table; give its rows as numbers in a .npy or .npz file.")
    except UserError as error:
        named = error.message if str(path) in error.message else f"{path}: {error.message}"
        raise UserError(named) from error


def _encoded_rows(table: TextTable, encoder: TableEncoder) -> Iterator[InputBatch]:
    for start in range(0, len(table), EVALUATION_BATCH):
        rows = slice(start, start + EVALUATION_BATCH)
        inputs = encoder({name: cells[rows] for name, cells in table.columns.items()})
        names = [f"{table.file}:{line}" for line in table.lines[rows]]
        yield InputBatch(names, torch.from_numpy(inputs)[:, :, None, None])
