"""One image file as an array: upright, in one number of channels, on an opaque ground, and in the wanted size."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from pipeline.errors import UserError
from pipeline.signals.data.transparency import lost_drawings

FITS = ("crop", "pad", "stretch")
GROUNDS = {"white": (255, 255, 255), "black": (0, 0, 0), "128": (128, 128, 128)}
"""Grounds on which drawings are compared with the chosen one, by the value of `data.background`."""
_SHOWN_SIDE = 64  # pixels; larger images are averaged down before their opacity is measured


@dataclass(frozen=True)
class ReadImage:
    """What one file gave: `pixels` (C, H, W), uint8, or int32 for a file with 16 bits."""

    pixels: np.ndarray
    aspect: float
    """Width / height of the file, upright."""
    lost: dict[str, bool] | None
    """For each ground whether the drawing is lost on it; None where every pixel is opaque."""


@dataclass(frozen=True)
class ImageReader:
    """Reads files as `size` x `size` pixels, or in their own size with None; three channels, or one with `grayscale`.

    `fit` says what becomes of images that are not square: crop (the centre), pad (with `background`) or stretch.
    `background` is white, black, a grey level from 0 to 255 or #rrggbb. Raises `UserError` naming the field.
    """

    size: int | None
    grayscale: bool
    fit: str
    background: Any

    def __post_init__(self) -> None:
        parse_colour(self.background)

    def __call__(self, file: Path) -> ReadImage:
        """Read `file`. Raises what Pillow raises, or `ValueError` for pixels that cannot be kept."""
        with Image.open(file) as opened:
            image = ImageOps.exif_transpose(opened)
        if image.mode == "F":
            raise ValueError("floating-point pixels; save them in a .npz file")
        aspect, lost = image.width / image.height, None
        if image.mode.startswith("I"):  # 16 or 32 bits
            floats = Image.fromarray(np.asarray(image).astype(np.float32))  # which Pillow can resize
            return ReadImage(self._integers(self._resize(floats)), aspect, lost)
        if image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info:
            image, lost = self._compose(image)
        array = np.asarray(self._resize(image.convert("L" if self.grayscale else "RGB")))
        pixels = array[None] if self.grayscale else np.ascontiguousarray(array.transpose(2, 0, 1))
        return ReadImage(pixels, aspect, lost)

    def _compose(self, image: Image.Image) -> tuple[Image.Image, dict[str, bool] | None]:
        """Return `image` on the ground, and on which grounds its drawing is lost."""
        colour = parse_colour(self.background)
        image = image.convert("RGBA")
        if image.getchannel("A").getextrema() == (255, 255):
            return image, None
        shown = image.copy()
        shown.thumbnail((_SHOWN_SIDE, _SHOWN_SIDE), Image.Resampling.BOX, reducing_gap=None)
        grounds = {**GROUNDS, str(self.background): colour}
        lost = lost_drawings(np.asarray(shown), list(grounds.values()), grayscale=self.grayscale)
        composed = Image.alpha_composite(Image.new("RGBA", image.size, (*colour, 255)), image)
        return composed, dict(zip(grounds, lost, strict=True))

    def _resize(self, image: Image.Image) -> Image.Image:
        if self.size is None:
            return image
        size, method = (self.size, self.size), Image.Resampling.BILINEAR
        if self.fit == "crop":
            return ImageOps.fit(image, size, method)
        if self.fit == "stretch":
            return image.resize(size, method)
        red, green, blue = parse_colour(self.background)
        grey = round(0.299 * red + 0.587 * green + 0.114 * blue)
        if image.mode == "RGB":
            return ImageOps.pad(image, size, method, color=(red, green, blue))
        return ImageOps.pad(image, size, method, color=grey if image.mode == "L" else 257 * grey)

    def _integers(self, image: Image.Image) -> np.ndarray:
        array = np.asarray(image)
        if array.min() < 0 or array.max() > 65535:
            raise ValueError("integers beyond 16 bits; save them in a .npz file")
        return np.repeat(array.round().astype(np.int32)[None], 1 if self.grayscale else 3, axis=0)


def parse_colour(background: Any) -> tuple[int, int, int]:
    """Return red, green and blue of white, black, a grey level 0 .. 255 or #rrggbb; raise `UserError` for others."""
    text = str(background)
    if text in GROUNDS:
        return GROUNDS[text]
    if isinstance(background, int) and not isinstance(background, bool) and 0 <= background <= 255:
        return (background, background, background)
    if re.fullmatch("#[0-9a-fA-F]{6}", text):
        red, green, blue = bytes.fromhex(text[1:])
        return red, green, blue
    raise UserError(
        f"expected white, black, a grey level from 0 to 255 or '#rrggbb', got {background!r}.", field="background"
    )
