"""Copies of training images that are shifted, mirrored, re-encoded, resized or brightened, and images of one kind."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from pipeline.checks import Finding
from pipeline.data.sources.embedded import digits, fashion_mnist_5k
from pipeline.signals.data.alignment import align, detail, turned
from pipeline.signals.data.near_copies import near_copies
from tests.checks.rule_cases import rule_of


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def scene(size: int = 520) -> Tensor:
    """One large grey picture (size, size) of shapes and grain at several scales, with pixels 0 to 255."""
    random = generator(3)
    layers = [torch.randn(1, 1, size // step, size // step, generator=random) for step in (26, 13, 5, 2)]
    picture = sum(F.interpolate(layer, (size, size), mode="bilinear") for layer in layers)
    picture = picture[0, 0] + 0.2 * torch.randn(size, size, generator=random)
    return (255 * torch.sigmoid(picture)).round()


def windows(stride: int, size: int = 28) -> Tensor:
    patches = scene().unfold(0, size, stride).unfold(1, size, stride).reshape(-1, 1, size, size)
    return patches[torch.randperm(len(patches), generator=generator())].to(torch.uint8)


def judged(train: Tensor, test: Tensor) -> Finding | None:
    return rule_of("near_duplicates")({"data": {"near_copies": near_copies(train, {"test": test})}})


def jpeg(images: Tensor, quality: int) -> Tensor:
    copies = []
    for image in images[:, 0].numpy():
        stream = io.BytesIO()
        Image.fromarray(image).save(stream, "JPEG", quality=quality)
        copies.append(torch.from_numpy(np.array(Image.open(stream))))
    return torch.stack(copies)[:, None]


def resized(images: Tensor) -> Tensor:
    small = F.interpolate(images.float(), scale_factor=0.75, mode="bilinear", antialias=True)
    return F.interpolate(small, images.shape[2:], mode="bilinear").round().to(torch.uint8)


COPIES: dict[str, Callable[[Tensor], Tensor]] = {
    "re-encoded": lambda images: jpeg(images, 60),
    "resized": resized,
    "darker": lambda images: (images.float() * 0.6 + 20).to(torch.uint8),
    "mirrored": lambda images: images.flip(3),
    "upside down": lambda images: images.flip(2),
    "turned": lambda images: images.rot90(1, (2, 3)),
    "shifted by one pixel": lambda images: images.roll((1, 1), (2, 3)),
    "shifted sideways": lambda images: images.roll(-1, 3),
}


def test_windows_that_overlap() -> None:
    """Windows of one picture that lie a quarter apart are copies of each other; windows side by side are not."""
    overlapping, apart = windows(7), windows(28)
    finding = judged(overlapping[1000:], overlapping[:1000])
    assert finding is not None
    assert finding.severity == "failure"
    assert judged(apart[60:], apart[:60]) is None
    near = near_copies(apart[60:], {"test": apart[:60]})["test"]
    assert len(near["unlike"]) <= 1


@pytest.mark.parametrize("kind", COPIES)
@pytest.mark.parametrize("name", ["windows", "garments"])
def test_copies(kind: str, name: str) -> None:
    """A sixth of the test images are copies; the pairs are the right ones."""
    images = windows(22) if name == "windows" else fashion_mnist_5k().train.pixels[:1400]
    test, train, copied = images[:120], images[120:], images[:20]
    train = torch.cat([train, COPIES[kind](copied)])
    finding = judged(train, test)
    assert finding is not None
    assert finding.where == "test"
    pairs = near_copies(train, {"test": test})["test"]["pairs"]
    right = [pair for pair in pairs if pair[0] < 20 and pair[1] == len(train) - 20 + pair[0]]
    assert len(right) >= 12


@pytest.mark.parametrize("shift", [(7, 0), (0, -7), (-6, 5), (4, 3)])
def test_shifts_in_any_direction(shift: tuple[int, int]) -> None:
    """A fifth at least of the windows is found again `shift` pixels away; fewest between the places that are tried."""
    picture = scene()[None, None].to(torch.uint8)
    moved = picture.roll(shift, (2, 3))
    test, train = (part.unfold(2, 28, 28).unfold(3, 28, 28).reshape(-1, 1, 28, 28) for part in (picture, moved))
    near = near_copies(train, {"test": test})["test"]
    assert sum(pair[0] == pair[1] for pair in near["pairs"]) >= 20


def drawings(n: int, *, grain: float) -> Tensor:
    """Discs and squares of any place and size, on a ground with or without grain of its own."""
    random = generator(5)
    y, x = torch.meshgrid(torch.arange(28.0), torch.arange(28.0), indexing="ij")
    place, size = 9 + 10 * torch.rand(2, n, 1, 1, generator=random), 4 + 5 * torch.rand(n, 1, 1, generator=random)
    away = torch.stack([(y - place[0]).abs(), (x - place[1]).abs()])
    is_disc = (torch.arange(n) % 2 == 0)[:, None, None]
    distance = torch.where(is_disc, away.square().sum(0).sqrt(), away.amax(0))
    images = 230 * (distance - size).clamp(0, 1) + grain * torch.randn(n, 28, 28, generator=random)
    return images.clamp(0, 255).to(torch.uint8)[:, None]


def test_images_of_one_kind() -> None:
    """Garments, drawings, drawings on grainy ground, noise, patterns in noise and smooth fields are no copies."""
    random = generator(1)
    patterns = 3 * torch.randn(10, 1, 28, 28, generator=random)[torch.randint(10, (900,), generator=random)]
    sets = {
        "garments": fashion_mnist_5k().train.pixels[:2000],
        "drawings": drawings(1500, grain=0),
        "grainy drawings": drawings(1500, grain=6),
        "noise": torch.randint(256, (900, 1, 28, 28), generator=random, dtype=torch.uint8),
        "patterns": patterns + torch.randn(patterns.shape, generator=random),
        "fields": F.interpolate(torch.randn(900, 1, 5, 5, generator=random), (28, 28), mode="bicubic"),
    }
    assert [name for name, images in sets.items() if judged(images[120:], images[:120]) is not None] == []


def test_too_small_to_tell() -> None:
    """Images of 8x8 pixels, rows of a table and few training images are not compared."""
    assert near_copies(digits().train.pixels[:1500], {"test": digits().train.pixels[1500:]}) == {}
    assert near_copies(torch.randn(900, 5, 1, 1), {"test": torch.randn(90, 5, 1, 1)}) == {}
    assert near_copies(windows(28)[:199], {"test": windows(28)[199:]}) == {}


def test_images_that_are_left_out() -> None:
    """The pairs number the images of the whole split."""
    images = windows(22)[:300]
    left_out = torch.arange(60) < 40
    near = near_copies(images, {"test": images[:60].flip(3)}, {"test": left_out})["test"]
    assert near["examples"] == 20
    assert near["pairs"] == [[i, i] for i in range(40, 60)]
    assert near_copies(images, {"test": images[:60]}, {"test": left_out | True}) == {}


def test_large_and_long_images() -> None:
    images = F.interpolate(windows(22)[:300].float(), (90, 120))
    near = near_copies(images, {"test": images[:50].flip(3), "val": images[:0]})
    assert near.keys() == {"test"}
    assert near["test"]["pairs"] == [[i, i] for i in range(50)]
    assert max(near["test"]["unlike"]) < 1e-3


def test_alignment() -> None:
    """The shift that brings one window over another is found, a pixel beside the proposed one."""
    picture = scene(60)
    first, second = picture[None, 10:40, 10:40], picture[None, 14:44, 7:37]
    unlike, shift = align(detail(first, 3, 7), detail(second, 3, 7), torch.tensor([[3, -2]]))
    assert shift.tolist() == [[4, -3]]
    assert float(unlike) == pytest.approx(0, abs=1e-5)
    far, _ = align(detail(first, 3, 7), detail(second, 3, 7), torch.tensor([[23, 22]]))
    assert float(far) == 1  # hardly any overlap


def test_turns() -> None:
    image = torch.arange(6.0).view(1, 2, 3)
    assert len({tuple(view.flatten().tolist()) for view in turned(image)}) == 4
    assert len({tuple(view.flatten().tolist()) for view in turned(torch.arange(9.0).view(1, 3, 3))}) == 8
    assert torch.equal(turned(image)[0], image)
