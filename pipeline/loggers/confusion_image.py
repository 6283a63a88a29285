"""A confusion matrix as a picture, for logs that show pictures but draw none."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

LETTERS = 14
"""Most characters of a class's name."""
_FEW, _MANY = np.array([247, 251, 255.0]), np.array([8, 48, 107.0])


def draw_confusion_matrix(confusion: Sequence[Sequence[int]], classes: Sequence[str]) -> np.ndarray:
    """(H, W, 3) uint8: rows are the true classes; the darker, the larger the share of the row. Counts and names are
    written where there is room: up to 30 classes."""
    counts = np.asarray(confusion, dtype=float)
    n = len(counts)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    cell, names = (28, 120) if n <= 30 else (max(2, 840 // n), 0)
    colours = _FEW + shares[..., None] * (_MANY - _FEW)
    cells = colours.round().astype(np.uint8).repeat(cell, 0).repeat(cell, 1)
    canvas = np.full((names + n * cell, names + n * cell, 3), 255, np.uint8)
    canvas[names:, names:] = cells
    if not names:
        return canvas
    image = Image.fromarray(canvas)
    _write_names(image, classes, cell, names)
    _write_counts(image, counts, shares, cell, names)
    return np.asarray(image)


def _write_names(image: Image.Image, classes: Sequence[str], cell: int, margin: int) -> None:
    """The true classes on the left, the answers on top, upright."""
    font = ImageFont.load_default(12)
    for i, name in enumerate(classes):
        strip = Image.new("RGB", (margin - 6, cell), "white")
        ImageDraw.Draw(strip).text((margin - 6, cell / 2), name[:LETTERS], fill="black", font=font, anchor="rm")
        image.paste(strip, (0, margin + i * cell))
        image.paste(strip.transpose(Image.Transpose.ROTATE_270), (margin + i * cell, 0))


def _write_counts(image: Image.Image, counts: np.ndarray, shares: np.ndarray, cell: int, margin: int) -> None:
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(11)
    for (row, column), count in np.ndenumerate(counts):
        if count:
            place = margin + (column + 0.5) * cell, margin + (row + 0.5) * cell
            dark = shares[row, column] > 0.5
            draw.text(place, f"{int(count)}", fill="white" if dark else "black", font=font, anchor="mm")
