"""A confusion matrix as an image, for viewers that show images and draw no matrices."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

MAX_LETTERS = 14
"""Letters of a class's name that are shown."""
MAX_LABELLED = 30
"""Most classes whose names and counts are written."""
_LIGHT, _DARK = np.array([247, 251, 255.0]), np.array([8, 48, 107.0])


def draw_confusion_matrix(confusion: Sequence[Sequence[int]], classes: Sequence[str]) -> np.ndarray:
    """Return an (H, W, 3) uint8 image of a matrix of counts whose rows are the true classes.

    The darker a cell, the larger its fraction of the row. Names and counts are written for up to `MAX_LABELLED`
    classes.
    """
    counts = np.asarray(confusion, dtype=float)
    n = len(counts)
    fractions = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    cell, margin = (28, 120) if n <= MAX_LABELLED else (max(2, 840 // n), 0)
    colors = _LIGHT + fractions[..., None] * (_DARK - _LIGHT)
    cells = colors.round().astype(np.uint8).repeat(cell, 0).repeat(cell, 1)
    canvas = np.full((margin + n * cell, margin + n * cell, 3), 255, np.uint8)
    canvas[margin:, margin:] = cells
    if not margin:
        return canvas
    image = Image.fromarray(canvas)
    _write_names(image, classes, cell, margin)
    _write_counts(image, counts, fractions, cell, margin)
    return np.asarray(image)


def _write_names(image: Image.Image, classes: Sequence[str], cell: int, margin: int) -> None:
    """Write the true classes on the left, and the predicted ones on top, rotated."""
    font = ImageFont.load_default(12)
    for i, name in enumerate(classes):
        strip = Image.new("RGB", (margin - 6, cell), "white")
        ImageDraw.Draw(strip).text((margin - 6, cell / 2), name[:MAX_LETTERS], fill="black", font=font, anchor="rm")
        image.paste(strip, (0, margin + i * cell))
        image.paste(strip.transpose(Image.Transpose.ROTATE_270), (margin + i * cell, 0))


def _write_counts(image: Image.Image, counts: np.ndarray, fractions: np.ndarray, cell: int, margin: int) -> None:
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(11)
    for (row, column), count in np.ndenumerate(counts):
        if count:
            center = margin + (column + 0.5) * cell, margin + (row + 0.5) * cell
            is_dark = fractions[row, column] > 0.5
            draw.text(center, f"{int(count)}", fill="white" if is_dark else "black", font=font, anchor="mm")
