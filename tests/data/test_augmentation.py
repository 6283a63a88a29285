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
@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_an_image_is_the_same_in_whatever_batch(augmentation: Augmentation, batch_size: int, pixels: Tensor) -> None:
    draws = augmentation.sample_parameters(3, 5, 64, "cpu")
    whole = augmentation(pixels, draws)
    result = torch.empty_like(pixels)
    for index in permutation(0, 0, 64).split(batch_size):
        result[index] = augmentation(pixels[index], draws[index])
    assert torch.equal(result, whole)


@pytest.mark.parametrize("augmentation", ALL)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.float32])
def test_shape_and_type_stay_and_the_input_too(augmentation: Augmentation, dtype: torch.dtype, pixels: Tensor) -> None:
    pixels = pixels.to(dtype)
    before = pixels.clone()
    result = augmentation(pixels, augmentation.sample_parameters(0, 0, 64, "cpu"))
    assert result.dtype == dtype
    assert result.shape == pixels.shape
    assert torch.equal(pixels, before)


@pytest.mark.parametrize("augmentation", ALL[1:])
def test_draws_are_a_function_of_seed_and_epoch(augmentation: Augmentation) -> None:
    draws = augmentation.sample_parameters(1, 2, 500, "cpu")
    state = torch.get_rng_state()
    assert torch.equal(draws, augmentation.sample_parameters(1, 2, 500, "cpu"))
    assert torch.equal(torch.get_rng_state(), state)
    for seed, epoch in ((1, 3), (2, 2), (2, 1)):
        assert not torch.equal(draws, augmentation.sample_parameters(seed, epoch, 500, "cpu"))


def test_none_is_the_input_itself(pixels: Tensor) -> None:
    assert NoAugmentation()(pixels, NoAugmentation().sample_parameters(0, 0, 64, "cpu")) is pixels


@pytest.mark.parametrize("p", [0, 0.25, 0.5, 1])
def test_flip_mirrors_a_share_p(p: float) -> None:
    row = torch.arange(4).view(1, 1, 1, 4).expand(10_000, 1, 1, 4)
    flip = Flip(p=p, average=False)
    result = flip(row, flip.sample_parameters(0, 0, 10_000, "cpu"))[:, 0, 0]
    mirrored = (result == torch.tensor([3, 2, 1, 0])).all(1)
    kept = (result == torch.tensor([0, 1, 2, 3])).all(1)
    assert bool((mirrored ^ kept).all())
    assert abs(mirrored.double().mean().item() - p) <= 4 * (p * (1 - p) / 10_000) ** 0.5


def slow_crop_flip(image: Tensor, padding: int, down: int, right: int, mirrored: int) -> Tensor:
    """The same by padding with reflection and cutting out a window."""
    padded = torch.nn.functional.pad(image[None].double(), [padding] * 4, mode="reflect")[0]
    height, width = image.shape[1:]
    window = padded[:, padding - down : padding - down + height, padding - right : padding - right + width]
    return (window.flip(-1) if mirrored else window).to(image.dtype)


def test_crop_flip_is_a_window_of_the_reflected_image(pixels: Tensor) -> None:
    crop = CropFlip(padding=3, p=0.5)
    draws = crop.sample_parameters(0, 0, 64, "cpu")
    expected = torch.stack(
        [slow_crop_flip(image, 3, *draw.tolist()) for image, draw in zip(pixels, draws, strict=True)]
    )
    assert torch.equal(crop(pixels, draws), expected)


def test_crop_flip_draws_every_shift_equally() -> None:
    draws = CropFlip(padding=2, p=0.25).sample_parameters(0, 0, 25_000, "cpu")
    shifts = torch.bincount((draws[:, 0] + 2) * 5 + draws[:, 1] + 2, minlength=25)
    assert len(shifts) == 25
    assert (shifts - 1000).abs().max() < 5 * 1000**0.5
    assert abs(draws[:, 2].double().mean().item() - 0.25) < 4 * (0.25 * 0.75 / 25_000) ** 0.5


def test_padding_beyond_the_image_stays_inside_it() -> None:
    crop = CropFlip(padding=9, p=0.0)
    images = torch.arange(4).view(1, 1, 2, 2).expand(200, 1, 2, 2)
    assert set(crop(images, crop.sample_parameters(0, 0, 200, "cpu")).flatten().tolist()) == {0, 1, 2, 3}


@pytest.mark.parametrize("p", [-0.1, 1.5, float("nan"), "0.5"])
def test_a_probability_outside_0_1_is_refused(p: float) -> None:
    for build in (lambda: Flip(p=p, average=True), lambda: CropFlip(padding=4, p=p)):
        with pytest.raises(UserError) as refused:
            build()
        assert refused.value.field == "p"


@pytest.mark.parametrize("padding", [0, -1, 1.5])
def test_a_padding_that_is_none_is_refused(padding: int) -> None:
    with pytest.raises(UserError) as refused:
        CropFlip(padding=padding, p=0.5)
    assert refused.value.field == "padding"


@pytest.mark.parametrize("augmentation", ALL)
def test_a_trained_network_sees_the_images_alone(augmentation: Augmentation, pixels: Tensor) -> None:
    (view,) = augmentation.test_time_views(pixels)
    assert view is pixels
    assert torch.equal(
        augmentation.average_logits(lambda x: x[:, 0, 0].double() / 3, pixels), pixels[:, 0, 0].double() / 3
    )


def test_averaging_flip_is_the_mean_over_the_image_and_its_mirror_image(pixels: Tensor) -> None:
    logits = Flip(p=0.5, average=True).average_logits(lambda x: x[:, 1, 2, :3].double(), pixels)
    expected = (pixels[:, 1, 2, :3].double() + pixels[:, 1, 2, [-1, -2, -3]].double()) / 2
    torch.testing.assert_close(logits, expected, rtol=0, atol=0)


@pytest.mark.parametrize("average", [1, "true", None])
def test_averaging_is_on_or_off(average: bool) -> None:
    with pytest.raises(UserError) as refused:
        Flip(p=0.5, average=average)
    assert refused.value.field == "average"
