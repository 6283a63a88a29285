"""Files that a user names, as batches of raw pixels: images, folders of images, .npz, .npy and .csv files.

Only one batch is in memory at a time. What cannot be read is reported and passed over.
"""

from __future__ import annotations

import os
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pipeline.data.shuffle import EVALUATION_BATCH
from pipeline.data.sources.folder_walk import find_files
from pipeline.errors import UserError
from pipeline.prediction.input_format import InputFormat
from pipeline.prediction.read_csv import InputBatch, is_csv, read_csv

ARRAY_NAMES = ("x_test", "x", "x_val", "x_train")
"""Arrays of a .npz file that hold inputs; the first that is there is read."""

OnUnreadable = Callable[[str, str], None]
"""Called with the name of an input that cannot be read, and why."""
OnNote = Callable[[str], object]
"""Called with a sentence about inputs that are read, and that training had none of."""


def read_inputs(
    paths: Sequence[Path], input_format: InputFormat, *, on_unreadable: OnUnreadable, on_note: OnNote = warnings.warn
) -> Iterator[InputBatch]:
    """Yield the inputs of `paths` in order, `EVALUATION_BATCH` at a time.

    A folder stands for all images in it, sorted by their paths. Raises `UserError` for a path that does not exist, and
    for a file of arrays or a table that is of no use as a whole.
    """
    images: list[Path] = []
    for path in paths:
        suffix = path.suffix.lower()
        if not path.exists():
            raise UserError(f"there is no file or folder {str(path)!r}.")
        if path.is_dir():
            images += image_files(path)
        elif suffix in (".npz", ".npy") or is_csv(path):
            yield from _read_images(images, input_format, on_unreadable)
            images = []
            if is_csv(path):
                for part in read_csv(path, input_format, on_note=on_note):
                    if isinstance(part, InputBatch):
                        yield part
                    else:
                        yield from _read_images(part, input_format, on_unreadable)
            else:
                yield from _read_arrays(path, input_format)
        else:
            images.append(path)
    yield from _read_images(images, input_format, on_unreadable)


def image_files(folder: Path) -> list[Path]:
    """Return the images in `folder` and its folders, in order. Raises `UserError` where there are none."""
    found = [folder.joinpath(*parts) for parts in find_files(folder).images]
    if not found:
        raise UserError(f"{str(folder)!r} holds no images.")
    return found


def _read_images(files: Sequence[Path], input_format: InputFormat, on_unreadable: OnUnreadable) -> Iterator[InputBatch]:
    def read(file: Path) -> Tensor | str:
        try:
            return input_format.from_file(file)
        except ValueError as error:
            return str(error)
        except Exception as error:  # noqa: BLE001 - Pillow raises OSError, SyntaxError, struct.error and others
            return f"{type(error).__name__}: {error}"

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for start in range(0, len(files), EVALUATION_BATCH):
            part = files[start : start + EVALUATION_BATCH]
            good: dict[str, Tensor] = {}
            for file, result in zip(part, pool.map(read, part), strict=True):
                if isinstance(result, str):
                    on_unreadable(str(file), result)
                else:
                    good[str(file)] = result
            if good:
                yield InputBatch(list(good), _stack(list(good.values())))


def _stack(images: Sequence[Tensor]) -> Tensor:
    """Stack images; where some are floats (16 bits among 8), all become floats."""
    types = {image.dtype for image in images}
    return torch.stack([image.float() for image in images] if len(types) > 1 else list(images))


def _read_arrays(path: Path, input_format: InputFormat) -> Iterator[InputBatch]:
    """Yield the rows of a .npy file, which is mapped, or of one array of a .npz file, which is read as a whole."""
    label = str(path)
    try:
        if path.suffix.lower() == ".npy":
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        else:
            with path.open("rb") as stream, np.load(stream, allow_pickle=False) as loaded:
                key = _array_name(loaded.files, path)
                array, label = loaded[key], f"{path}:{key}"
    except (OSError, ValueError, EOFError, AttributeError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"{path} cannot be read as arrays of numbers ({type(error).__name__}).") from error
    single = array.ndim < 2 or (array.ndim == 3 and input_format.is_image and input_format.shape[0] > 1)
    single = single or (array.ndim == 2 and input_format.is_image)
    rows = array[None] if single else array
    for start in range(0, len(rows), EVALUATION_BATCH):
        part = np.asarray(rows[start : start + EVALUATION_BATCH])
        try:
            pixels = input_format.from_array(part[0] if single else part)
        except ValueError as error:
            raise UserError(f"{label} holds {error}") from error
        if len(pixels) != len(part):
            raise UserError(f"{label} of shape {array.shape} holds no list of inputs.")
        yield InputBatch([f"{label}[{start + row}]" for row in range(len(part))], pixels)


def _array_name(names: Sequence[str], path: Path) -> str:
    """Return the array of a .npz file that holds the inputs. Raises `UserError` where that is open."""
    for name in ARRAY_NAMES:
        if name in names:
            return name
    if len(names) == 1:
        return names[0]
    raise UserError(f"{path} must have an array {' or '.join(ARRAY_NAMES)}; it has {', '.join(names) or 'nothing'}.")
