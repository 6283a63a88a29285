"""Augmentations as functions of seed, epoch and index, against slow computations of the same."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pipeline.data import Augmentation, CropFlip, Flip, NoAugmentation, permutation
from pipeline.errors import UserError

ALL: list[Augmentation] = [
    NoAugmentation(),
    Flip(p=0.5, average=False),
    CropFlip(padding=2, p=0.5),
    CropFlip(padding=40, p=0.5),
]


@pytest.fixture
def pixels() -> Tensor:
    return torch.randint(0, 256, (64, 3, 6, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("augmentation", ALL)
def test_batches_do_not_matter(augmentation: Augmentation, pixels: Tensor) -> None:
    parameters = augmentation.sample_parameters(3, 5, 64, "cpu")
    at_once = augmentation(pixels, parameters)
    for batch_size in (1, 7, 64):
        result = torch.empty_like(pixels)
        for index in permutation(0, 0, 64).split(batch_size):
            result[index] = augmentation(pixels[index], parameters[index])
        assert torch.equal(result, at_once)


@pytest.mark.parametrize("augmentation", ALL)
def test_shape_type_and_input_are_kept(augmentation: Augmentation, pixels: Tensor) -> None:
    for dtype in (torch.uint8, torch.int32, torch.float32):
        images = pixels.to(dtype)
        result = augmentation(images, augmentation.sample_parameters(0, 0, 64, "cpu"))
        assert result.dtype == dtype
        assert result.shape == pixels.shape
        assert torch.equal(images, pixels.to(dtype))


@pytest.mark.parametrize("augmentation", ALL[1:])
def test_parameters_depend_on_seed_and_epoch(augmentation: Augmentation) -> None:
    parameters = augmentation.sample_parameters(1, 2, 500, "cpu")
    state = torch.get_rng_state()
    assert torch.equal(parameters, augmentation.sample_parameters(1, 2, 500, "cpu"))
    assert torch.equal(torch.get_rng_state(), state)
    for seed, epoch in ((1, 3), (2, 2), (2, 1)):
        assert not torch.equal(parameters, augmentation.sample_parameters(seed, epoch, 500, "cpu"))


def test_no_augmentation(pixels: Tensor) -> None:
    assert NoAugmentation()(pixels, NoAugmentation().sample_parameters(0, 0, 64, "cpu")) is pixels


@pytest.mark.parametrize("p", [0, 0.25, 0.5, 1])
def test_flip_mirrors_a_fraction_p(p: float) -> None:
    row = torch.arange(4).view(1, 1, 1, 4).expand(10_000, 1, 1, 4)
    flip = Flip(p=p, average=False)
    result = flip(row, flip.sample_parameters(0, 0, 10_000, "cpu"))[:, 0, 0]
    mirrored = (result == torch.tensor([3, 2, 1, 0])).all(1)
    unchanged = (result == torch.tensor([0, 1, 2, 3])).all(1)
    assert bool((mirrored ^ unchanged).all())
    assert abs(mirrored.double().mean().item() - p) <= 4 * (p * (1 - p) / 10_000) ** 0.5


def slow_crop_flip(image: Tensor, padding: int, down: int, right: int, mirrored: int) -> Tensor:
    """Pad by reflection and cut out a window."""
    padded = torch.nn.functional.pad(image[None].double(), [padding] * 4, mode="reflect")[0]
    height, width = image.shape[1:]
    window = padded[:, padding - down : padding - down + height, padding - right : padding - right + width]
    return (window.flip(-1) if mirrored else window).to(image.dtype)


def test_crop_flip_against_padding(pixels: Tensor) -> None:
    crop = CropFlip(padding=3, p=0.5)
    parameters = crop.sample_parameters(0, 0, 64, "cpu")
    expected = [slow_crop_flip(image, 3, *row.tolist()) for image, row in zip(pixels, parameters, strict=True)]
    assert torch.equal(crop(pixels, parameters), torch.stack(expected))


def test_crop_flip_shifts_are_uniform() -> None:
    parameters = CropFlip(padding=2, p=0.25).sample_parameters(0, 0, 25_000, "cpu")
    shifts = torch.bincount((parameters[:, 0] + 2) * 5 + parameters[:, 1] + 2, minlength=25)
    assert len(shifts) == 25
    assert (shifts - 1000).abs().max() < 5 * 1000**0.5
    assert abs(parameters[:, 2].double().mean().item() - 0.25) < 4 * (0.25 * 0.75 / 25_000) ** 0.5


def test_padding_larger_than_the_image() -> None:
    crop = CropFlip(padding=9, p=0.0)
    images = torch.arange(4).view(1, 1, 2, 2).expand(200, 1, 2, 2)
    assert set(crop(images, crop.sample_parameters(0, 0, 200, "cpu")).flatten().tolist()) == {0, 1, 2, 3}


@pytest.mark.parametrize("p", [-0.1, 1.5, float("nan"), "0.5"])
def test_invalid_probability(p: float) -> None:
    for build in (lambda: Flip(p=p, average=True), lambda: CropFlip(padding=4, p=p)):
        with pytest.raises(UserError) as error:
            build()
        assert error.value.field == "p"


@pytest.mark.parametrize("padding", [0, -1, 1.5])
def test_invalid_padding(padding: int) -> None:
    with pytest.raises(UserError) as error:
        CropFlip(padding=padding, p=0.5)
    assert error.value.field == "padding"


@pytest.mark.parametrize("augmentation", ALL)
def test_one_view_by_default(augmentation: Augmentation, pixels: Tensor) -> None:
    (view,) = augmentation.test_time_views(pixels)
    assert view is pixels
    assert torch.equal(
        augmentation.average_logits(lambda x: x[:, 0, 0].double() / 3, pixels), pixels[:, 0, 0].double() / 3
    )


def test_flip_averages_the_mirror_image(pixels: Tensor) -> None:
    logits = Flip(p=0.5, average=True).average_logits(lambda x: x[:, 1, 2, :3].double(), pixels)
    expected = (pixels[:, 1, 2, :3].double() + pixels[:, 1, 2, [-1, -2, -3]].double()) / 2
    torch.testing.assert_close(logits, expected, rtol=0, atol=0)


@pytest.mark.parametrize("average", [1, "true", None])
def test_invalid_average(average: bool) -> None:
    with pytest.raises(UserError) as error:
        Flip(p=0.5, average=average)
    assert error.value.field == "average"
