"""PNG files that other programs read as they were meant."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from pipeline.report.png import picture, png, strip


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_it_comes_back(channels: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, channels), np.uint8)
    image = Image.open(io.BytesIO(png(pixels)))
    assert np.array_equal(np.asarray(image).reshape(pixels.shape), pixels)


def test_a_strip_has_transparent_gaps() -> None:
    tiles = np.full((3, 2, 2, 1), 9, np.uint8)
    sheet = strip(tiles, fill=4)
    assert sheet.shape == (2, 4 * 3 - 1, 2)
    assert sheet[0, :, 1].tolist() == [255, 255, 0, 255, 255, 0, 255, 255, 0, 0, 0]


def test_a_picture_knows_its_size() -> None:
    shown = picture(np.zeros((5, 7, 3), np.uint8), "black", scale=2)
    assert (shown.width, shown.height, shown.scale) == (7, 5, 2)
