"""PNG images: the pixels, their size, and tiles."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from pipeline.report.figures.png_images import png_image, tile_grid, tile_row


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_pixels_come_back(channels: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, channels), np.uint8)
    image = png_image(pixels, "noise", scale=2)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(image.png))).reshape(pixels.shape), pixels)
    assert (image.width, image.height, image.scale) == (7, 5, 2)


def test_row_has_transparent_gaps() -> None:
    row = tile_row(np.full((3, 2, 2, 1), 9, np.uint8), min_tiles=4)
    assert row.shape == (2, 4 * 3 - 1, 2)
    assert row[0, :, 1].tolist() == [255, 255, 0, 255, 255, 0, 255, 255, 0, 0, 0]


def test_grid_fills_rows() -> None:
    grid = tile_grid(np.full((3, 2, 2, 3), 9, np.uint8), columns=2)
    assert grid.shape == (5, 5, 4)
    assert grid[:, 0, 3].tolist() == [255, 255, 0, 255, 255]
    assert grid[-1, :, 3].tolist() == [255, 255, 0, 0, 0]
