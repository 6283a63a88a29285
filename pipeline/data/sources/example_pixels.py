"""Pixels of examples that a data set hands out one at a time: encoded images, pictures, arrays or tensors."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import PIL
import torch
from PIL import Image, ImageOps
from torch import Tensor

from pipeline.data.pixels import DecodedPixels, Unreadable
from pipeline.data.sources.decode_files import FilePixels, FilesRead
from pipeline.data.sources.image_files import ImageReader
from pipeline.errors import UserError
from pipeline.signals.schema import Data

ReadRaw = Callable[[int], Any]
_GREY_MODES = ("1", "L", "LA", "La", "I", "I;16", "I;16L", "I;16B", "F")
_SAVED_MODES = ("1", "L", "LA", "I", "I;16", "P", "RGB", "RGBA")
"""Modes that PNG keeps as they are."""
_PICTURE_CHANNELS = (1, 3, 4)


def is_picture(raw: Any) -> bool:
    """Return whether `raw` is an encoded image, the path of one, or a picture of Pillow, instead of an array."""
    return isinstance(raw, (bytes, bytearray, memoryview, str, Path, Image.Image))


def open_picture(raw: Any) -> BinaryIO | Path:
    """Return a file that `ImageReader` can read, for an encoded image, a path, a picture of Pillow or a uint8 array."""
    if isinstance(raw, (str, Path)):
        return Path(raw)
    if isinstance(raw, (bytes, bytearray, memoryview)):
        return io.BytesIO(raw)
    image = raw if isinstance(raw, Image.Image) else _picture_of(to_array(raw))
    image = ImageOps.exif_transpose(image)
    file = io.BytesIO()
    # stored without compression, which loses nothing: so pictures in memory are read as files are
    (image if image.mode in _SAVED_MODES else image.convert("RGB")).save(file, "PNG", compress_level=0)
    file.seek(0)
    return file


def is_grey(raw: Any) -> bool:
    """Return whether a picture, or an encoded one, has a single channel, opacity apart."""
    if isinstance(raw, Image.Image):
        return raw.mode in _GREY_MODES
    with Image.open(open_picture(raw)) as image:
        return image.mode in _GREY_MODES


def to_array(raw: Any) -> np.ndarray:
    """Return an array or a tensor as (C, H, W) uint8, int32 or float32; a vector of D values becomes (D, 1, 1).

    Of three dimensions, the channels of a tensor are the first, unless only the last can be (1, 3 or 4 values beside
    more than 4); those of an array are the last, unless the first is smaller. Raises `ValueError` for others.
    """
    if isinstance(raw, Tensor):
        tensor = raw.detach().cpu()
        array = (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()
        is_last = array.ndim == 3 and array.shape[0] > 4 and array.shape[2] in _PICTURE_CHANNELS
    else:
        array = np.asarray(raw)
        is_last = array.ndim == 3 and array.shape[2] <= array.shape[0]
    if not 1 <= array.ndim <= 3 or not array.size:
        raise ValueError(f"has the shape {array.shape}; (C, H, W), (H, W, C), (H, W) or (D,) can be used")
    if is_last:
        array = array.transpose(2, 0, 1)
    shaped = {1: array.reshape(-1, 1, 1), 2: array[None]}.get(array.ndim, array)
    if shaped.dtype.kind in "fb":
        return np.ascontiguousarray(shaped, dtype=np.float32)
    if shaped.dtype == np.uint8:
        return np.ascontiguousarray(shaped)
    if shaped.dtype.kind not in "iu":
        raise ValueError(f"holds {shaped.dtype} values; pixels are integers or floats")
    if shaped.max() >= 2**31 or shaped.min() < -(2**31):
        raise ValueError("holds integers beyond 32 bits")
    return np.ascontiguousarray(shaped, dtype=np.int32)


def _picture_of(array: np.ndarray) -> Image.Image:
    if array.dtype != np.uint8 or len(array) not in _PICTURE_CHANNELS:
        raise ValueError(
            f"is {array.dtype} with {len(array)} channel(s); data.size and data.grayscale change pictures only, that "
            "is uint8 with 1, 3 or 4 channels"
        )
    return Image.fromarray(array[0] if len(array) == 1 else array.transpose(1, 2, 0))


class _PictureFiles(Sequence[Any]):
    """The file of each picture, opened when it is asked for: what `FilePixels` has paths for."""

    def __init__(self, read: ReadRaw, count: int, name: Callable[[int], str], *, is_grey_assumed: bool):
        self._read, self._count, self._name, self._is_grey_assumed = read, count, name, is_grey_assumed

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, row: Any) -> Any:
        try:
            raw = self._read(row)
            if not self._is_grey_assumed or is_grey(raw):
                return open_picture(raw)
        except UserError:
            raise
        except Exception as error:  # Pillow raises OSError, SyntaxError, struct.error and others
            raise Unreadable(f"{type(error).__name__}: {error}") from error
        raise UserError(
            f"{self._name(row)} is in colour, and those that were looked at first are grey. Set data.grayscale=false "
            "to keep colours, or true to drop them.",
            field="grayscale",
        )


class PicturePixels(FilePixels):
    """Pictures as `ImageReader` reads files, with the same signals of what reading them changed."""

    def __init__(
        self,
        read: ReadRaw,
        reader: ImageReader,
        shape: Sequence[int],
        dtype: torch.dtype,
        *,
        name: Callable[[int], str],
        key: str | None,
        threads: int | None,
        on_error: str,
        is_grey_assumed: bool,
    ):
        """`read(i)` returns the picture of row i, encoded or not. With `is_grey_assumed`, one in colour is refused."""
        files: Any = _PictureFiles(read, shape[0], name, is_grey_assumed=is_grey_assumed)
        super().__init__(files, reader, Path(), shape, dtype, on_error, _describe)
        self.name, self.key = name, key and f"{key} {reader} Pillow {PIL.__version__}"
        self.threads = threads or self.threads

    def key_of(self, rows: Sequence[int]) -> str | None:
        return DecodedPixels.key_of(self, rows)


def _describe(read: FilesRead) -> Data:
    """Return notes on pictures that were not read as they are."""
    notes = read.sentences(shown=3)
    return {"notes": notes} if notes else {}


class ArrayPixels(DecodedPixels):
    """Arrays or tensors as they are; all must have one shape and one type."""

    def __init__(
        self,
        read: ReadRaw,
        shape: Sequence[int],
        dtype: torch.dtype,
        *,
        name: Callable[[int], str],
        key: str | None,
        threads: int | None,
        on_error: str,
    ):
        """`read(i)` returns the array of row i, of any layout that `to_array` knows."""
        super().__init__(self._read_array, shape, dtype, key=key, threads=threads, on_error=on_error, name=name)
        self._read_raw = read
        self._row = (torch.Size(shape[1:]), dtype)

    def _read_array(self, row: int) -> np.ndarray:
        raw = self._read_raw(row)
        try:
            array = to_array(raw)
        except Exception as error:  # of what an item may be, NumPy and Pillow refuse it in many ways
            raise Unreadable(str(error)) from error
        shape, dtype = self._row
        found = torch.from_numpy(array[:0]).dtype
        if array.shape != shape or found != dtype:
            raise UserError(
                f"all images must have one shape (channels, height, width) and type, but {self.name(row)} has "
                f"{tuple(array.shape)} {found} and the first {tuple(shape)} {dtype}. "
                + ("Set data.size to resize all." if found == torch.uint8 else "Resize and convert them alike."),
                field="size",
            )
        return array
