"""What one input of a trained network is, and how arrays, pictures and image files become one."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pipeline.data.sources.image_files import ImageReader
from pipeline.errors import UserError

IMAGE, TABLE, ARRAY = "image", "table", "array"
_FILE_SCALES = {np.dtype(np.uint8): 1 / 255, np.dtype(np.int32): 1 / 65535}


@dataclass(frozen=True)
class InputFormat:
    """The raw inputs of a run: `shape` (C, H, W), the type of its stored pixels, and their `scale` to [0, 1].

    `reading` says how the run read one input (`Splits.reading`). An older run records no `pixel_type` (then empty) and
    no `scale` (then None).

    `fit` is crop, pad or stretch: what becomes of image files of another size, where the run itself resized nothing;
    with None they are refused.
    """

    shape: tuple[int, int, int]
    scale: float | None
    pixel_type: str = ""
    reading: Mapping[str, Any] = field(default_factory=dict)
    fit: str | None = None

    @property
    def kind(self) -> str:
        return str(self.reading.get("kind", ARRAY))

    @property
    def is_image(self) -> bool:
        """Whether an input is an image; otherwise it is a row of numbers."""
        return self.shape[1] * self.shape[2] > 1

    # ------------------------------------------------------------------ arrays

    def from_array(self, array: Any) -> Tensor:
        """Return (N, C, H, W) of one input or several, a tensor or an array of NumPy: channels first or last.

        A grey image may be (H, W), a row of a table (D,). Where both layouts fit, a tensor has its channels first and
        an array of NumPy last. Raises `ValueError` for another shape, type or range of values.
        """
        is_tensor = isinstance(array, Tensor)
        pixels = array.detach() if isinstance(array, Tensor) else _to_tensor(array)
        layouts = self._layouts(pixels)
        for layout in layouts if is_tensor else reversed(layouts):
            if tuple(layout.shape[1:]) == self.shape:
                self._check_values(layout)
                return layout
        raise ValueError(f"inputs of shape {tuple(pixels.shape)}, but the network was trained on {self._expected()}.")

    def _layouts(self, pixels: Tensor) -> list[Tensor]:
        """Return `pixels` as (N, C, H, W) in each way that they can be read, channels first at the front."""
        if pixels.ndim == 4:
            return [pixels, pixels.permute(0, 3, 1, 2)]
        if pixels.ndim == 3:
            return [pixels[None], pixels.permute(2, 0, 1)[None], pixels[:, None]]
        if pixels.ndim == 2:
            return [pixels[None, None]] if self.is_image else [pixels[:, :, None, None]]
        return [pixels[None, :, None, None]] if pixels.ndim == 1 else []

    def _expected(self) -> str:
        channels, height, width = self.shape
        if not self.is_image:
            return f"rows of {channels} numbers: (N, {channels}) or ({channels},)"
        grey = f", or ({height}, {width})" if channels == 1 else ""
        first, last = (channels, height, width), (height, width, channels)
        return f"images of shape {first}, or {last} with the channels last{grey}, alone or (N, ...)"

    def _check_values(self, pixels: Tensor) -> None:
        """Raise `ValueError` for values that cannot be those of the run: not finite, or of another range."""
        if not pixels.numel():
            return
        if pixels.is_floating_point() and not bool(torch.isfinite(pixels).all()):
            raise ValueError("inputs must be finite numbers, but there are NaN or infinite ones.")
        if not self.is_image or not self.pixel_type or not self.scale:
            return
        if self.pixel_type.startswith("float") and not pixels.is_floating_point() and pixels.max() > 1:
            raise ValueError(
                f"inputs are {_type_name(pixels)} up to {int(pixels.max())}, but the pixels of the run were floats. "
                "Bring them to the range that they had there: x.astype('float32') / 255 if that was from 0 to 1."
            )
        highest = round(1 / self.scale)
        is_fraction = pixels.is_floating_point() and 0 < pixels.max() <= 1 and bool((pixels != pixels.round()).any())
        if is_fraction and highest > 1 and not self.pixel_type.startswith("float"):
            raise ValueError(
                f"inputs are fractions up to {float(pixels.max()):g}, but the pixels of the run were whole numbers "
                f"from 0 to {highest}. Multiply them by {highest}."
            )

    # ------------------------------------------------------------------ pictures

    def from_file(self, file: Path) -> Tensor:
        """Return (C, H, W) of an image file, read as in the run: upright, its size, channels, ground and 16 bits.

        Raises `ValueError` for another size than the run's, and what Pillow raises for a file that it cannot read.
        """
        return self._read(file)

    def from_picture(self, picture: Image.Image) -> Tensor:
        """Return (C, H, W) of an image of Pillow, which is treated as a file with that content is."""
        file = io.BytesIO()
        keeps_mode = picture.mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I", "I;16")
        exif = picture.getexif()
        (picture if keeps_mode else picture.convert("RGB")).save(file, "PNG", compress_level=1, exif=exif)
        file.seek(0)
        return self._read(file)

    def _read(self, file: Any) -> Tensor:
        if not self.is_image:
            raise ValueError(f"an image, but the network was trained on {self._expected()}.")
        if self.scale is None:
            raise ValueError("an image, but this older run does not say what its pixels are scaled by. Give arrays.")
        values = self._image_reader()(file).pixels
        if values.shape != self.shape:
            height, width = self.shape[1:]
            hint = "" if values.shape[1:] == (height, width) else " Resize it, or choose a fit: crop, pad or stretch."
            raise ValueError(f"an image of shape {values.shape}, but the network was trained on {self.shape}.{hint}")
        factor = _FILE_SCALES[values.dtype] / self.scale
        pixels = torch.from_numpy(np.array(values))
        return pixels if abs(factor - 1) < 1e-9 else pixels * torch.tensor(factor, dtype=torch.float32)

    def _image_reader(self) -> ImageReader:
        size = self.reading.get("size")
        if size is None and self.fit is not None:
            size = [self.shape[1], self.shape[2]]
        return ImageReader(
            size=size,
            grayscale=bool(self.reading.get("grayscale", self.shape[0] == 1)),
            fit=str(self.fit or self.reading.get("fit", "crop")),
            background=self.reading.get("background", "white"),
        )


def recorded_format(extra: Mapping[str, Any]) -> InputFormat:
    """Return the format that a checkpoint records; an older one has only the configuration of its data."""
    node = extra["config"]["data"]
    reading = extra.get("reading")
    if not reading:
        is_folder = str(node["source"].get("_target_", "")).endswith(".image_folder")
        keys = ("size", "fit", "background", "grayscale")
        reading = {"kind": IMAGE, **{key: node[key] for key in keys if key in node}} if is_folder else {"kind": ARRAY}
    scale = extra.get("scale") or node.get("scale") or (1 / 255 if reading["kind"] == IMAGE else None)
    return InputFormat(tuple(extra["input_shape"]), scale, extra.get("pixel_type", ""), reading)


def _to_tensor(array: Any) -> Tensor:
    """Return an array of NumPy as a tensor. Raises `ValueError` for anything but numbers."""
    values = np.asarray(array)
    if values.dtype.kind not in "buif":
        raise ValueError(
            f"inputs must be numbers, but these are {values.dtype}. An image, its path, an array, a tensor, or a list "
            "of such can be given."
        )
    if values.dtype.kind == "b":
        values = values.astype(np.uint8)
    if values.dtype.kind == "u" and values.dtype.itemsize > 1:
        values = values.astype(np.int64)
    if values.dtype.kind == "f":
        values = values.astype(np.float32)
    return torch.from_numpy(np.array(values))  # a copy: torch takes neither read-only memory nor negative strides


def _type_name(pixels: Tensor) -> str:
    return str(pixels.dtype).removeprefix("torch.")


def check_fit(fit: str | None, input_format: InputFormat) -> None:
    """Raise `UserError` where a fit is chosen although the run itself resized its images."""
    if fit is not None and input_format.reading.get("size") is not None:
        raise UserError(
            f"the run itself resized its images with data.fit={input_format.reading.get('fit', 'crop')}, and so are "
            "these. Leave it out.",
            field="--fit",
        )
