"""A source of examples that a data set hands out one at a time, as encoded images, pictures or arrays.

Only a few are read to learn their kind; the others are decoded when the splits are known (`DecodedPixels`).
"""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from pipeline.data.dataset import Images, Source
from pipeline.data.pixels import DecodedPixels
from pipeline.data.sources.example_pixels import ArrayPixels, PicturePixels, is_grey, is_picture, open_picture, to_array
from pipeline.data.sources.image_files import FITS, ImageReader
from pipeline.data.sources.label_values import AUTO, encode_labels
from pipeline.errors import UserError
from pipeline.validation import boolean, one_of

SAMPLE = 8
"""Examples that are read to learn the kind of all."""


@dataclass(frozen=True)
class Examples:
    """One split of a data set."""

    labels: Sequence[Any]
    """The label of each example as the data set gives it."""
    read: Callable[[int], Any]
    """Returns the image of an example: encoded, the path of a file, a picture of Pillow, an array or a tensor."""
    name: Callable[[int], str]
    """Says in messages which example is meant."""

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class PictureOptions:
    """How pictures are read, as in `ImageReader`. `grayscale` None: in grey if they are grey."""

    size: Any
    fit: Any
    background: Any
    grayscale: Any
    on_error: Any = "refuse"

    def __post_init__(self) -> None:
        one_of("on_error", self.on_error, ("refuse", "skip"))
        self.reader(is_grey=False)

    def reader(self, *, is_grey: bool) -> ImageReader:
        """Return the reader; `is_grey` says what null means. Raises `UserError` naming the field."""
        grayscale = is_grey if self.grayscale is None else boolean("grayscale", self.grayscale)
        return ImageReader(self.size, grayscale, one_of("fit", self.fit, FITS), self.background)


def make_source(
    splits: Mapping[str, Examples],
    *,
    name: str,
    path: str | None,
    pictures: PictureOptions,
    scale: float | None,
    task: str = AUTO,
    classes: Sequence[str] | None = None,
    label_field: str = "label",
    key: str | None = None,
    threads: int | None = None,
) -> Source:
    """Return the source of `splits` (train, and optionally val and test), whose pixels are not decoded yet.

    Pictures become RGB, or grey with `pictures.grayscale`, in the size `pictures.size`. Arrays and tensors stay as they
    are, floats with the scale 1, unless pictures of them are needed because a size or grey is asked for. `key` and
    `threads` are as in `DecodedPixels`, `task` and `classes` as in `encode_labels`, whose errors name `label_field`.

    Raises `UserError` for a split without examples, for labels and images that cannot be used, and for floats that
    look like 0..255 without a `scale`.
    """
    for split, examples in splits.items():
        if not len(examples):
            raise UserError(f"the {split} split of {path or name} holds no examples.", field="path" if path else None)
    encoded = encode_labels(
        {split: examples.labels for split, examples in splits.items()}, task=task, names=classes, field=label_field
    )
    rows = _Rows(splits)
    pixels, inferred, reading = _make_pixels(rows, len(splits["train"]), pictures, scale, key, threads)
    parts = torch.arange(len(rows)).split([len(examples) for examples in splits.values()])
    images = {
        split: Images(pixels.select(part), encoded.splits[split]) for split, part in zip(splits, parts, strict=True)
    }
    return Source(
        name=name,
        train=images["train"],
        val=images.get("val"),
        test=images.get("test"),
        classes=encoded.classes,
        scale=inferred,
        path=path,
        task=encoded.task,
        reading=reading,
    )


class _Rows:
    """The examples of all splits, one after the other."""

    def __init__(self, splits: Mapping[str, Examples]):
        self._splits = list(splits.values())
        self._starts = [0, *itertools.accumulate(len(examples) for examples in self._splits)]

    def __len__(self) -> int:
        return self._starts[-1]

    def _find(self, row: int) -> tuple[Examples, int]:
        split = bisect.bisect_right(self._starts, row) - 1
        return self._splits[split], row - self._starts[split]

    def read(self, row: int) -> Any:
        examples, i = self._find(row)
        return examples.read(i)

    def name(self, row: int) -> str:
        examples, i = self._find(row)
        return examples.name(i)


def sample_indices(count: int) -> list[int]:
    """Return at most `SAMPLE` evenly spaced indices of `count` examples; the first is 0."""
    return sorted({i * count // SAMPLE for i in range(SAMPLE)})


def _make_pixels(
    rows: _Rows, n_train: int, pictures: PictureOptions, scale: float | None, key: str | None, threads: int | None
) -> tuple[DecodedPixels, float, dict[str, Any]]:
    """Return the pixels of all rows, their scale, and how they are read, from a sample of the training examples."""
    sample = sample_indices(n_train)
    common: dict[str, Any] = {"name": rows.name, "key": key, "threads": threads, "on_error": pictures.on_error}
    if pictures.size is not None or pictures.grayscale or is_picture(_readable(rows, sample, rows.read)[0]):
        return _make_pictures(rows, sample, pictures, common)
    arrays = _readable(rows, sample, lambda row: to_array(rows.read(row)))
    dtype = torch.from_numpy(arrays[0]).dtype
    pixels = ArrayPixels(rows.read, (len(rows), *arrays[0].shape), dtype, **common)
    return pixels, _infer_scale(arrays) if scale is None else scale, {"kind": "array"}


def _make_pictures(
    rows: _Rows, sample: Sequence[int], pictures: PictureOptions, common: dict[str, Any]
) -> tuple[DecodedPixels, float, dict[str, Any]]:
    is_asked = pictures.grayscale is not None
    greys = not is_asked and all(_readable(rows, sample, lambda row: is_grey(rows.read(row))))
    reader: Any = pictures.reader(is_grey=greys)
    arrays = _readable(rows, sample, lambda row: reader(open_picture(rows.read(row))).pixels)
    dtype = torch.int32 if any(array.dtype == np.int32 for array in arrays) else torch.uint8
    pixels = PicturePixels(rows.read, reader, (len(rows), *arrays[0].shape), dtype, is_grey_assumed=greys, **common)
    return pixels, 1 / 65535 if dtype == torch.int32 else 1 / 255, reader.reading()


def _readable(rows: _Rows, sample: Sequence[int], read: Callable[[int], Any]) -> list[Any]:
    """Return `read(row)` of each row of the sample that can be read: decoding names the others later.

    Raises `UserError` (`path`) if none can.
    """
    found, errors = [], []
    for row in sample:
        try:
            found.append(read(row))
        except UserError:
            raise
        except Exception as error:  # noqa: BLE001 - of Pillow, NumPy, and what reads the data set
            errors.append(f"{rows.name(row)} cannot be read ({type(error).__name__}: {error})")
    if not found:
        raise UserError(f"none of the {len(errors)} examples that were tried can be read: {errors[0]}.", field="path")
    return found


def _infer_scale(arrays: Sequence[np.ndarray]) -> float:
    """Return the scale that brings the values into [0, 1]; of floats it is 1."""
    highest, lowest = max(float(array.max()) for array in arrays), min(float(array.min()) for array in arrays)
    if arrays[0].dtype != np.float32:
        largest = max(highest, -lowest)
        if largest > 65535:
            raise UserError(f"there are integers up to {largest:.0f}; pixels have at most 65535.", field="scale")
        return 1 / 255 if largest <= 255 else 1 / 65535
    is_image = arrays[0].shape[1] * arrays[0].shape[2] > 1
    if is_image and lowest >= 0 and highest > 16 and math.isfinite(highest):
        raise UserError(
            f"there are floats up to {highest:g} that look like pixels 0..255: return uint8, or set "
            "data.scale=0.00392156862745098 to divide by 255 (data.scale=1 leaves them unchanged).",
            field="scale",
        )
    return 1.0
