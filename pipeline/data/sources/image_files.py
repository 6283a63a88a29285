"""One image file as an array: upright, in one number of channels, on an opaque ground, and in the wanted size."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from pipeline.data.sources.deep_colour import has_deep_colour, low_bytes
from pipeline.errors import UserError
from pipeline.signals.data.transparency import lost_drawings
from pipeline.validation import integer

FITS = ("crop", "pad", "stretch")
GROUNDS = {"white": (255, 255, 255), "black": (0, 0, 0), "128": (128, 128, 128)}
"""Grounds on which drawings are compared with the chosen one, by the value of `data.background`."""
LUMINANCE = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in grey: ITU-R BT.601, as in Pillow."""
FIRST_FRAME, EIGHT_BITS, ENLARGED = "first frame", "eight bits", "enlarged"
"""What `ReadImage.notes` can say: only the first of several pictures was read, 16 bits of a colour were read as 8, or
the file has less than a quarter of the wanted height or width."""
_ENLARGED = 4  # times; from then on most pixels are made up
_SHOWN_SIDE = 64  # pixels; larger images are averaged down before their opacity is measured


@dataclass(frozen=True)
class ReadImage:
    """What one file gave: `pixels` (C, H, W), uint8, or int32 for a file with 16 bits."""

    pixels: np.ndarray
    aspect: float
    """Width / height of the file, upright."""
    lost: dict[str, bool] | None
    """For each ground whether the drawing is lost on it; None where every pixel is opaque."""
    notes: tuple[str, ...] = ()
    """Where the file and `pixels` differ: `FIRST_FRAME`, `EIGHT_BITS`, `ENLARGED`."""


@dataclass(frozen=True)
class ImageReader:
    """Reads files as pixels of one size, or in their own size with None; three channels, or one with `grayscale`.

    `size` is a number of pixels, for squares, or [height, width]. `fit` says what becomes of images of other
    proportions: crop (the centre), pad (with `background`) or stretch. `background` is white, black, a grey level from
    0 to 255 or #rrggbb. Raises `UserError` naming the field.
    """

    size: int | Sequence[int] | None
    grayscale: bool
    fit: str
    background: Any

    def __post_init__(self) -> None:
        parse_size(self.size)
        parse_colour(self.background)

    def reading(self) -> dict[str, Any]:
        """Return plain data that says how a file is read: the field `reading` of `Source`."""
        size = self.size if self.size is None or isinstance(self.size, (int, float)) else list(self.size)
        return {
            "kind": "image",
            "size": size,
            "fit": self.fit,
            "background": self.background,
            "grayscale": self.grayscale,
        }

    def __call__(self, file: Path) -> ReadImage:
        """Read `file`. Raises what Pillow raises, or `ValueError` for pixels that cannot be kept."""
        with Image.open(file) as opened:
            notes: tuple[str, ...] = (
                (FIRST_FRAME,) if getattr(opened, "is_animated", False) and opened.format != "MPO" else ()
            )
            is_deep = has_deep_colour(opened)
            low = low_bytes(file) if is_deep and "transparency" not in opened.info else None
            image = ImageOps.exif_transpose(opened)
        if image.mode == "F":
            raise ValueError("floating-point pixels; save them in a .npz file")
        aspect = image.width / image.height
        if self.size is not None and self._enlarges(image):
            notes += (ENLARGED,)
        if low is not None:
            values, lost = self._compose_deep(image, ImageOps.exif_transpose(low))
            return ReadImage(self._integers(self._resize_deep(values)), aspect, lost, notes)
        if is_deep:
            notes += (EIGHT_BITS,)
        if image.mode.startswith("I"):  # 16 or 32 bits
            values = np.asarray(image).astype(np.float32)[..., None]
            if values.min() < 0 or values.max() > 65535:
                raise ValueError("integers beyond 16 bits; save them in a .npz file")
            return ReadImage(self._integers(self._resize_deep(values)), aspect, None, notes)
        lost = None
        if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
            image, lost = self._compose(image)
        image = image.convert("RGB") if image.mode in ("LAB", "HSV") else image  # which Pillow does not turn into grey
        image = image.convert("L" if self.grayscale else "RGB")
        array = np.asarray(self._resize(image, self._grey() if self.grayscale else parse_colour(self.background)))
        pixels = array[None] if self.grayscale else np.ascontiguousarray(array.transpose(2, 0, 1))
        return ReadImage(pixels, aspect, lost, notes)

    def _enlarges(self, image: Image.Image) -> bool:
        """Return whether the wanted size is more than four times that of the file, in height or width."""
        height, width = parse_size(self.size) or (1, 1)
        return height > _ENLARGED * image.height or width > _ENLARGED * image.width

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

    def _compose_deep(self, high: Image.Image, low: Image.Image) -> tuple[NDArray[np.float32], dict[str, bool] | None]:
        """Return (H, W, 3) values up to 65535 from their two bytes, on the ground, and where the drawing is lost."""
        values = 256 * np.asarray(high).astype(np.float32) + np.asarray(low)
        colours, opacity = values[..., :3], values[..., 3:] / 65535
        if high.mode != "RGBA" or bool((opacity == 1).all()):
            return colours, None
        ground = 257 * np.array(parse_colour(self.background), np.float32)
        return ground + opacity * (colours - ground), self._compose(high)[1]

    def _resize(self, image: Image.Image, ground: int | tuple[int, int, int]) -> Image.Image:
        """Return `image` in the wanted size; `ground` is what `pad` fills up with."""
        shape = parse_size(self.size)
        if shape is None:
            return image
        size, method = (shape[1], shape[0]), Image.Resampling.BILINEAR
        if self.fit == "crop":
            return ImageOps.fit(image, size, method)
        if self.fit == "stretch":
            return image.resize(size, method)
        return ImageOps.pad(image, size, method, color=ground)

    def _resize_deep(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return values (C, H, W) up to 65535 in the wanted size, from (H, W, C); one channel with `grayscale`."""
        colour: tuple[int, ...] = parse_colour(self.background)
        if values.shape[2] == 1:
            colour = (self._grey(),)
        elif self.grayscale:
            values, colour = values @ np.array(LUMINANCE, np.float32)[:, None], (self._grey(),)
        channels = [Image.fromarray(np.ascontiguousarray(channel)) for channel in np.moveaxis(values, 2, 0)]
        resized = [self._resize(channel, 257 * level) for channel, level in zip(channels, colour, strict=True)]
        return np.stack([np.asarray(channel) for channel in resized])

    def _integers(self, values: NDArray[np.float32]) -> NDArray[np.int32]:
        """Return values (1 or 3, H, W) as integers, in as many channels as all files get."""
        pixels = values.round().astype(np.int32)
        return pixels if self.grayscale or len(pixels) == 3 else np.repeat(pixels, 3, axis=0)

    def _grey(self) -> int:
        return round(
            sum(weight * level for weight, level in zip(LUMINANCE, parse_colour(self.background), strict=True))
        )


def parse_size(size: Any) -> tuple[int, int] | None:
    """Return the height and width that `size` says, a number for a square or two in a list; None for None.

    Raises `UserError` (`size`) for other values.
    """
    if size is None:
        return None
    if isinstance(size, Sequence) and not isinstance(size, str):
        if len(size) != 2:
            raise UserError(f"expected a whole number or [height, width], got {list(size)}.", field="size")
        return integer("size", size[0], at_least=1), integer("size", size[1], at_least=1)
    side = integer("size", size, at_least=1, hint="For images that are not square, give [height, width].")
    return side, side


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
