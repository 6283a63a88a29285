"""Arrays of pixels as PNG, and strips of them."""

from __future__ import annotations

import struct
import zlib
from typing import Any

import numpy as np

from pipeline.report.blocks import PngImage

_COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}
"""Channels -> grey, grey with alpha, RGB, RGBA (PNG, section 11.2.2)."""


def png(pixels: Any) -> bytes:
    """uint8 (H, W, 1 .. 4) -> a PNG file: signature, header, one block of rows with filter 0, end."""
    height, width, channels = pixels.shape
    rows = np.zeros((height, 1 + width * channels), np.uint8)
    rows[:, 1:] = pixels.reshape(height, -1)
    header = struct.pack(">IIBBBBB", width, height, 8, _COLOUR_TYPES[channels], 0, 0, 0)
    blocks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes(), 6)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in blocks
    )


def picture(pixels: Any, alt: str, *, scale: float) -> PngImage:
    return PngImage(png(pixels), alt, width=pixels.shape[1], height=pixels.shape[0], scale=scale)


def strip(tiles: Any, *, gap: int = 1, fill: int = 0) -> Any:
    """(n, H, W, 1 or 3) side by side with transparent gaps: (H, n * W + gaps, with alpha); as wide as `fill` tiles."""
    n, height, width, channels = tiles.shape
    sheet = np.zeros((height, max(n, fill) * (width + gap) - gap, channels + 1), np.uint8)
    for i, tile in enumerate(tiles):
        start = i * (width + gap)
        sheet[:, start : start + width, :channels] = tile
        sheet[:, start : start + width, channels] = 255
    return sheet
