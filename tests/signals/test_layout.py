"""Images whose values were reshaped where they should have been transposed, and images that only look like it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.checks import Finding
from pipeline.data.sources.embedded import digits, fashion_mnist_5k
from pipeline.signals.data.layout import layouts
from tests.checks.rule_cases import rule_of

SCRAMBLES = {
    "(H, W, C) reshaped to (C, H, W)": lambda x: x.permute(0, 2, 3, 1).reshape(x.shape),
    "(C, H, W) reshaped to (H, W, C)": lambda x: x.reshape(len(x), *x.shape[2:], x.shape[1]).permute(0, 3, 1, 2),
    "column by column": lambda x: torch.from_numpy(
        np.reshape(x.permute(0, 2, 3, 1).numpy(), x.shape, order="F").copy()
    ),
    "height and width exchanged": lambda x: x.reshape(len(x), x.shape[1], x.shape[3], x.shape[2]),
}


def photos(n: int = 80, height: int = 20, width: int = 32) -> Tensor:
    """Smooth colour fields with a little noise; the channels are alike, as in photographs."""
    random = torch.Generator().manual_seed(0)
    coarse = torch.randn(n, 1, 4, 6, generator=random) + 0.5 * torch.randn(n, 3, 4, 6, generator=random)
    images = F.interpolate(coarse, (height, width), mode="bicubic")
    return images + 0.1 * torch.randn(images.shape, generator=random)


def finding(**splits: Tensor) -> Finding | None:
    return rule_of("scrambled_pixels")({"data": {"layouts": layouts(splits)}})


@pytest.mark.parametrize("kind", SCRAMBLES)
def test_scrambled_images(kind: str) -> None:
    """They are found, and the proposed line of code brings neighbours together again."""
    images = photos()
    found = finding(train=images, test=SCRAMBLES[kind](images))
    assert found is not None
    assert found.where == "test"
    values: dict[str, Any] = {"x": SCRAMBLES[kind](images).numpy()}
    exec(found.code, values)  # a line that the rule wrote itself
    restored = torch.from_numpy(np.ascontiguousarray(values["x"]))
    assert restored.shape in (images.shape, images.transpose(2, 3).shape)
    assert torch.equal(restored if restored.shape == images.shape else restored.transpose(2, 3), images)


def test_sound_images() -> None:
    fashion, random = fashion_mnist_5k().train.pixels, torch.Generator().manual_seed(0)
    noise = torch.randint(256, (80, 3, 32, 32), generator=random, dtype=torch.uint8)
    flat = torch.rand(80, 3, 1, 1, generator=random) + 0.02 * torch.randn(80, 3, 24, 24, generator=random)
    y, x = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
    board = ((x + y) % 2) * torch.rand(80, 3, 1, 1, generator=random)
    stripes = torch.sin(x * 2 * torch.pi / 3 + 6 * torch.rand(80, 1, 1, 1, generator=random)).expand(80, 3, 32, 32)
    walk = torch.randn(80, 3, 1, 128, generator=random).cumsum(3)
    sets = {"fashion": fashion, "grey": fashion.expand(-1, 3, -1, -1), "wide": fashion[:, :, 4:24], "noise": noise}
    sets |= {"flat": flat, "board": board, "stripes": stripes, "walk": walk, "digits": digits().train.pixels}
    sets |= {"photos": photos(), "square photos": photos(height=32), "tiny": photos(height=8, width=8)}
    sets |= {"permuted": photos().flatten(1)[:, torch.randperm(1920, generator=random)].view(80, 3, 20, 32)}
    assert [name for name, images in sets.items() if finding(train=images) is not None] == []


def test_series() -> None:
    """Rows (T, C) of several channels that were reshaped to (C, T)."""
    walk = torch.randn(80, 3, 1, 128, generator=torch.Generator().manual_seed(0)).cumsum(3)
    found = finding(train=walk.permute(0, 2, 3, 1).reshape(80, 3, 1, 128))
    assert found is not None
    assert found.severity == "failure"


def test_numbers() -> None:
    """The roughness of noise is 1, that of a slope is 1 / 2 over its variance; the rougher direction counts."""
    random = torch.Generator().manual_seed(0)
    noise = layouts({"train": torch.randn(64, 3, 24, 24, generator=random)})["train"]
    assert noise["roughness"] == pytest.approx(1, abs=0.03)
    assert noise["channel_correlation"] == pytest.approx(0, abs=0.02)
    slope = torch.arange(20.0).expand(5, 1, 10, 20)
    assert layouts({"train": slope})["train"]["roughness"] == pytest.approx(
        0.5 / float(torch.arange(20.0).var(correction=0))
    )
    stripes = (torch.arange(20) % 2).float().expand(5, 1, 10, 20)
    assert layouts({"train": stripes})["train"]["roughness"] == pytest.approx(0.5 / 0.25)
    assert layouts({"train": stripes.transpose(2, 3)})["train"]["roughness"] == pytest.approx(0.5 / 0.25)


def test_nothing_to_compare() -> None:
    """Square images of one channel, rows of a table and blank images have no other reading."""
    assert layouts({"train": photos()[:, :1, :20, :20], "val": torch.randn(9, 3, 1, 1)}) == {}
    assert layouts({"train": torch.zeros(9, 3, 8, 8, dtype=torch.uint8), "val": photos()[:0]}) == {}
