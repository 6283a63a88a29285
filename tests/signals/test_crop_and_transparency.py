"""What a crop cuts away, and drawings that a ground hides."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from pipeline.signals.data.crop import crop_signals
from pipeline.signals.data.groups import shared_groups
from pipeline.signals.data.transparency import lost_drawings

WHITE, BLACK, GREY = (255, 255, 255), (0, 0, 0), (128, 128, 128)


def noisy(n: int, seed: int) -> Tensor:
    return 40 * torch.rand(n, 1, 10, 10, generator=torch.Generator().manual_seed(seed))


def marked(n: int, seed: int) -> Tensor:
    """Return images with a bright spot on the left (even) or on the right (odd)."""
    images = noisy(n, seed)
    images[0::2, :, 4:6, 1:3] += 200
    images[1::2, :, 4:6, 7:9] += 200
    return images


def test_what_a_crop_cuts_away() -> None:
    labels, aspects = torch.arange(200) % 2, torch.full((200,), 2.0)
    lost = crop_signals(marked(200, 0), noisy(200, 1), labels, aspects)
    assert lost is not None
    assert lost["whole_accuracy"] == 1
    assert 0.3 < lost["crop_accuracy"] < 0.7
    assert (lost["examples"], lost["cut"], lost["chance"]) == (200, pytest.approx(0.5), 0.5)
    assert lost["whole_only"] == round(200 * (1 - lost["crop_accuracy"]))
    assert lost["crop_only"] == 0
    gained = crop_signals(noisy(200, 1), marked(200, 0), labels, 1 / aspects)
    assert gained is not None
    assert gained["whole_only"] == 0
    assert gained["cut"] == pytest.approx(0.5)
    assert crop_signals(marked(9, 0), noisy(9, 1), torch.zeros(9, dtype=torch.long), aspects[:9]) is None


def test_squeezing_itself_tells_no_class() -> None:
    """Wide images of one class and tall ones of another: squeezed they look different, and nothing is cut away."""
    labels = torch.arange(200) % 2
    aspects = torch.where(labels == 0, 2.0, 0.5)
    whole = noisy(200, 0)
    whole[labels == 0] += torch.linspace(0, 100, 10)
    measured = crop_signals(whole, noisy(200, 1), labels, aspects)
    assert measured is not None
    assert measured["crop_accuracy"] == 1  # the proportions are known
    assert measured["whole_only"] == 0


def disc(colour: int, spread: int = 0) -> np.ndarray:
    random = np.random.default_rng(0)
    image = np.zeros((16, 16, 4), np.uint8)
    image[..., :3] = np.clip(colour + random.integers(-spread, spread + 1, (16, 16, 3)), 0, 255)
    image[4:12, 4:12, 3] = 255
    return image


@pytest.mark.parametrize("grayscale", [False, True])
def test_lost_drawings(grayscale: bool) -> None:
    for image, lost in (
        (disc(0), [False, True, False]),
        (disc(252, 3), [True, False, False]),
        (disc(128), [False, False, True]),
        (disc(128, 100), [False, False, False]),  # a photograph shows on any ground
        (disc(230), [False, False, False]),
    ):
        assert lost_drawings(image, [WHITE, BLACK, GREY], grayscale=grayscale) == lost
    veil = disc(255)
    veil[..., 3] = 128
    assert lost_drawings(veil, [WHITE], grayscale=grayscale) == [False]


def test_colours_of_one_brightness_are_lost_in_grey() -> None:
    image = disc(0)
    image[..., :3] = (0, 128, 0)
    ground = [(75, 75, 75)]  # as bright as this green
    assert lost_drawings(image, ground, grayscale=True) == [True]
    assert lost_drawings(image, ground, grayscale=False) == [False]


def test_shared_groups() -> None:
    train = torch.tensor([3, 1, 3, 8])
    assert shared_groups(train, {"val": torch.tensor([2, 3, 3]), "test": torch.tensor([5])}) == {"val": 2, "test": 0}
