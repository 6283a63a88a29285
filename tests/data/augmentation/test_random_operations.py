"""RandAugment and TrivialAugment beside torchvision's, operation by operation, and what they refuse."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torchvision.transforms import v2

from pipeline.data.augmentation import RandAugment, TrivialAugment
from pipeline.data.augmentation.operations import OPERATIONS
from pipeline.data.augmentation.random_operations import BINS, SIGNED
from pipeline.errors import UserError

PAIRS: dict[str, tuple[Any, Any]] = {
    "RandAugment": (RandAugment(flip=0.0, num_ops=1, magnitude=9), v2.RandAugment()),
    "TrivialAugment": (TrivialAugment(flip=0.0), v2.TrivialAugmentWide()),
}
NAMES = list(OPERATIONS)


def images(channels: int, height: int, width: int, n: int = 2 * BINS) -> Tensor:
    """Return smooth images with noise, one of a single value, and one of two."""
    generator = torch.Generator().manual_seed(channels)
    coarse = torch.randint(0, 256, (n, channels, 4, 4), generator=generator).float()
    pixels = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")
    pixels = (pixels + torch.randint(-9, 10, pixels.shape, generator=generator)).clamp(0, 255).to(torch.uint8)
    pixels[3], pixels[4, :, :3] = 7, 200
    return pixels


def test_operations_are_those_of_torchvision() -> None:
    for _, theirs in PAIRS.values():
        assert list(theirs._AUGMENTATION_SPACE) == NAMES
        assert {name for name, (_, signed) in theirs._AUGMENTATION_SPACE.items() if signed} == set(SIGNED)


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 20)])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("which", PAIRS)
def test_pixels_of_torchvision(which: str, name: str, shape: tuple[int, int, int]) -> None:
    """Every magnitude of every operation. Sums in another order move few values by one."""
    ours, theirs = PAIRS[which]
    pixels = images(*shape)
    function, signed = theirs._AUGMENTATION_SPACE[name]
    table = function(BINS, *shape[1:])
    bins = torch.cat([torch.arange(BINS), -torch.arange(BINS)]).float()
    bins = bins if signed else bins.abs()
    actual = ours.vary(pixels, torch.stack([torch.full((2 * BINS,), float(NAMES.index(name))), bins], dim=1))
    expected = []
    for image, level in zip(pixels, bins.tolist(), strict=True):
        magnitude = 0.0 if table is None else float(table[int(abs(level))]) * (-1 if level < 0 else 1)
        expected.append(
            theirs._apply_image_or_video_transform(
                image, name, magnitude, interpolation=v2.InterpolationMode.NEAREST, fill=theirs._fill
            )
        )
    difference = (actual.int() - torch.stack(expected).int()).abs()
    if name in ("Color", "Contrast", "Sharpness"):
        assert int(difference.max()) <= 1
        assert float((difference > 0).float().mean()) < 0.005
    else:
        assert int(difference.max()) == 0


@pytest.mark.parametrize("augmentation", [RandAugment(flip=0.0, num_ops=3, magnitude=9), TrivialAugment(flip=0.0)])
def test_draws(augmentation: Any) -> None:
    """All operations are equally frequent, and half of the signs are negative."""
    drawn = augmentation.draw(1, 2, 20_000)
    operations, bins = drawn[:, ::2].flatten(), drawn[:, 1::2].flatten()
    counts = torch.bincount(operations.long(), minlength=len(NAMES))
    assert len(counts) == len(NAMES)
    expected = len(operations) / len(NAMES)
    assert (counts - expected).abs().max() < 5 * expected**0.5
    assert 0.47 < float((bins < 0).sum() / (bins != 0).sum()) < 0.53
    if isinstance(augmentation, RandAugment):
        assert set(bins.abs().tolist()) == {9.0}
    else:
        assert set(bins.abs().tolist()) == {float(level) for level in range(BINS)}


def test_all_at_once_gives_the_pixels_of_each_group(monkeypatch: pytest.MonkeyPatch) -> None:
    """Off the CPU each operation sees all images, so that no number of them is read back."""
    from pipeline.data.augmentation import random_operations

    pixels, augmentation = images(3, 12, 12), RandAugment(flip=0.5, num_ops=2, magnitude=20)
    parameters = augmentation.sample_parameters(0, 0, len(pixels), "cpu")
    grouped = augmentation(pixels, parameters)
    monkeypatch.setattr(random_operations, "groups_images", lambda pixels: False)
    assert torch.equal(augmentation(pixels, parameters), grouped)


@pytest.mark.parametrize(
    "pixels",
    [
        torch.zeros(2, 1, 8, 8),
        torch.zeros(2, 1, 8, 8, dtype=torch.int32),
        torch.zeros(2, 2, 8, 8, dtype=torch.uint8),
        torch.zeros(2, 4, 8, 8, dtype=torch.uint8),
        torch.zeros(2, 1, 1, 13, dtype=torch.uint8),
    ],
)
def test_images_that_are_refused(pixels: Tensor) -> None:
    for augmentation, _ in PAIRS.values():
        with pytest.raises(UserError) as error:
            augmentation.check_images(pixels)
        assert error.value.field == "_target_"
        augmentation.check_images(torch.zeros(2, 3, 8, 8, dtype=torch.uint8))


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"magnitude": 31}, "magnitude"),
        ({"magnitude": 1.5}, "magnitude"),
        ({"num_ops": 0}, "num_ops"),
        ({"flip": 2}, "flip"),
    ],
)
def test_wrong_values(values: dict[str, Any], field: str) -> None:
    with pytest.raises(UserError) as error:
        RandAugment(**({"flip": 0.5, "num_ops": 2, "magnitude": 9} | values))
    assert error.value.field == field
