"""Colours of 16 bits, of which Pillow keeps the higher byte.

Its decoder is asked twice, for either byte: what it takes for the higher one depends on the order of bytes alone.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from PIL import Image

_DEEP = re.compile(r"(RGB|RGBA|RGBX|CMYK|LA|YCbCr);16")
_READ_TWICE = re.compile(r"(RGB|RGBA);16[BLN]")  # for which Pillow has decoders in both orders
_LARGEST_BYTE = 255


def has_deep_colour(image: Image.Image) -> bool:
    """Return whether the file of `image`, which is not loaded yet, has colours of more than 8 bits."""
    arguments = [one for tile in getattr(image, "tile", ()) for one in _arguments(tile)]
    if image.format == "PPM":  # whose decoder gets the largest value
        return image.mode == "RGB" and any(isinstance(one, int) and one > _LARGEST_BYTE for one in arguments)
    return any(isinstance(one, str) and _DEEP.match(one) is not None for one in arguments)


def low_bytes(file: Path) -> Image.Image | None:
    """Return the lower bytes of the colours in `file`, in the mode of `Image.open`; None where they cannot be read."""
    with Image.open(file) as image:
        tiles = []
        for tile in image.tile:
            arguments = tuple(_exchange(one) for one in _arguments(tile))
            if arguments == _arguments(tile):
                return None
            tiles.append(tile._replace(args=arguments if isinstance(tile.args, tuple) else arguments[0]))
        image.tile = tiles
        image.load()
        return image.copy() if tiles else None


def _arguments(tile: Any) -> tuple[Any, ...]:
    return tile.args if isinstance(tile.args, tuple) else (tile.args,)


def _exchange(argument: Any) -> Any:
    """Return the raw mode that takes the other byte; anything else as it is."""
    if not isinstance(argument, str) or not _READ_TWICE.fullmatch(argument):
        return argument
    order = argument[-1]
    is_big = order == "B" or (order == "N" and sys.byteorder == "big")
    return argument[:-1] + ("L" if is_big else "B")
