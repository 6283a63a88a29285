"""Arrays of pixels as PNG images, alone or tiled. Pillow and numpy are imported on first use, since both are slow."""

from __future__ import annotations

import io
from typing import Any

from pipeline.report.blocks import PngImage

_MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
"""Channels -> Pillow's name for them."""


def png_image(pixels: Any, alt: str, *, scale: float) -> PngImage:
    """Return a PNG of (H, W, C) uint8 pixels with C = 1 .. 4: grey, grey with alpha, RGB, RGBA."""
    from PIL import Image

    height, width, channels = pixels.shape
    mode = _MODES[channels]
    buffer = io.BytesIO()
    Image.frombytes(mode, (width, height), pixels.tobytes()).save(buffer, "PNG")
    return PngImage(buffer.getvalue(), alt, width=width, height=height, scale=scale)


def tile_row(tiles: Any, *, gap: int = 1, min_tiles: int = 0) -> Any:
    """Return (n, H, W, C) tiles side by side as (H, width, C + 1): an alpha channel makes the gaps transparent.

    The row is at least as wide as `min_tiles` tiles.
    """
    import numpy as np

    n, height, width, channels = tiles.shape
    row = np.zeros((height, max(n, min_tiles) * (width + gap) - gap, channels + 1), np.uint8)
    for i, tile in enumerate(tiles):
        start = i * (width + gap)
        row[:, start : start + width, :channels] = tile
        row[:, start : start + width, channels] = 255
    return row


def tile_grid(tiles: Any, columns: int, *, gap: int = 1) -> Any:
    """Return (n, H, W, C) tiles in rows of `columns` as (height, width, C + 1), with transparent gaps."""
    import numpy as np

    rows = [tile_row(tiles[i : i + columns], gap=gap, min_tiles=columns) for i in range(0, len(tiles), columns)]
    spacer = np.zeros((gap, *rows[0].shape[1:]), np.uint8)
    return np.concatenate([part for row in rows for part in (row, spacer)][:-1])
