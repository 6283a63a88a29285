"""Several augmentations together, erased rectangles, and users' functions of one image."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from pipeline.data import Augmentation, CropFlip, Flip, MixedLabels, NoAugmentation
from pipeline.data.augmentation import (
    Chain,
    CutMix,
    Mixup,
    PerImage,
    RandAugment,
    RandomErasing,
    TrivialAugment,
    as_augmentation,
)
from pipeline.errors import UserError
from tests.small_run import MakeRun

ERASING = RandomErasing(flip=0.0, p=0.5, scale=[0.05, 0.4], ratio=[0.3, 3.3])


@pytest.fixture
def pixels() -> Tensor:
    return torch.randint(0, 256, (64, 3, 9, 11), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


ALL: dict[str, Augmentation] = {
    "randaugment": RandAugment(flip=0.5, num_ops=2, magnitude=9),
    "trivial": TrivialAugment(flip=0.5),
    "erasing": RandomErasing(flip=0.5, p=0.5, scale=[0.05, 0.4], ratio=[0.3, 3.3]),
    "per image": PerImage(v2.RandomResizedCrop((9, 11))),
    "chain": Chain({"shift": CropFlip(padding=2, p=0.5), "off": None, "r": TrivialAugment(flip=0.0), "e": ERASING}),
}


@pytest.mark.parametrize("name", ALL)
def test_batches_do_not_matter(name: str, pixels: Tensor) -> None:
    augmentation, before = ALL[name], pixels.clone()
    state = torch.get_rng_state()
    parameters = augmentation.sample_parameters(3, 5, 64, "cpu")
    assert torch.equal(parameters, augmentation.sample_parameters(3, 5, 64, "cpu"))
    at_once = augmentation(pixels, parameters)
    assert at_once.dtype == pixels.dtype
    assert at_once.shape == pixels.shape
    assert torch.equal(pixels, before)
    assert torch.equal(torch.get_rng_state(), state)
    for size in (1, 7):
        parts = [augmentation(p, q) for p, q in zip(pixels.split(size), parameters.split(size), strict=True)]
        assert torch.equal(torch.cat(parts), at_once)
    assert not torch.equal(at_once, pixels)
    for seed, epoch in ((3, 6), (4, 5)):
        assert not torch.equal(parameters, augmentation.sample_parameters(seed, epoch, 64, "cpu"))


def test_mirrored_share(pixels: Tensor) -> None:
    flipped = RandomErasing(flip=0.3, p=0.0, scale=[0.1, 0.2], ratio=[1, 1])
    parameters = flipped.sample_parameters(0, 0, 10_000, "cpu")
    assert float(parameters[:, 0].mean()) == pytest.approx(0.3, abs=0.02)
    expected = torch.where(parameters[:64, :1, None, None] > 0, pixels.flip(3), pixels)
    assert torch.equal(flipped(pixels, parameters[:64]), expected)


def test_erasing_against_torchvision(pixels: Tensor) -> None:
    """The rectangle is covered by the mean of each channel, as torchvision's `erase` covers it."""
    parameters = ERASING.sample_parameters(0, 0, 64, "cpu")
    erased = ERASING(pixels, parameters)
    areas = []
    for image, result in zip(pixels, erased, strict=True):
        mean = image.float().mean((1, 2), keepdim=True).round().to(torch.uint8)
        changed = (result != image).any(0)
        if changed.any():
            rows, columns = changed.any(1).nonzero().flatten(), changed.any(0).nonzero().flatten()
            i, j, h, w = rows[0], columns[0], rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1
            assert torch.equal(result, functional.erase(image, int(i), int(j), int(h), int(w), mean))
            areas.append(float(h * w) / 99)
    assert 20 <= len(areas) <= 44
    assert max(areas) <= 0.5
    floats = ERASING(pixels.float(), parameters)
    assert floats.dtype == torch.float32
    wide = RandomErasing(flip=0.0, p=1.0, scale=[1.0, 1.0], ratio=[0.01, 0.01])
    covered = wide(pixels, wide.sample_parameters(0, 0, 64, "cpu"))
    assert all((covered[i] != pixels[i]).any() for i in range(64))


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"p": 2}, "p"),
        ({"scale": [0.5, 0.1]}, "scale"),
        ({"scale": 0.5}, "scale"),
        ({"scale": [0.1, 1.5]}, "scale"),
        ({"ratio": [0, 1]}, "ratio"),
        ({"ratio": "ab"}, "ratio"),
    ],
)
def test_wrong_erasing(values: dict[str, Any], field: str) -> None:
    with pytest.raises(UserError) as error:
        RandomErasing(**{"flip": 0.0, "p": 0.5, "scale": [0.1, 0.2], "ratio": [0.5, 2], **values})
    assert error.value.field == field


def test_chain_is_its_parts_in_order(pixels: Tensor) -> None:
    """Each part draws by a seed of its own: flips of two parts are not the same flips."""
    chain = Chain(
        {"a": Flip(p=0.5, average=False), "b": None, "c": CropFlip(padding=2, p=0.5), "d": Mixup(flip=0.0, alpha=1)}
    )
    parameters = chain.sample_parameters(0, 1, 64, "cpu")
    flips, shifts, mixing = parameters.split([1, 3, 5], dim=1)
    by_hand = CropFlip(padding=2, p=0.5)(Flip(p=0.5, average=False)(pixels, flips.bool()), shifts.long())
    assert torch.equal(chain(pixels, parameters), Mixup(flip=0.0, alpha=1)(by_hand, mixing))
    twice = Chain({"a": Flip(p=0.5, average=False), "b": Flip(p=0.5, average=False)}).sample_parameters(0, 1, 64, "cpu")
    assert 10 < int((twice[:, 0] == twice[:, 1]).sum()) < 54
    labels = chain.mix_labels(torch.arange(64), parameters, (9, 11))
    assert isinstance(labels, MixedLabels)
    without = chain.without_mixing()
    assert torch.equal(without(pixels, parameters[:, :4]), by_hand)
    assert without.mix_labels(torch.arange(64), parameters[:, :4], (9, 11)) is not None
    assert isinstance(Chain({"m": Mixup(flip=0.0, alpha=1)}).without_mixing(), NoAugmentation)
    assert torch.equal(Chain({})(pixels, Chain({}).sample_parameters(0, 0, 64, "cpu")), pixels)


@pytest.mark.parametrize(
    ("parts", "field"),
    [
        ({"m": Mixup(flip=0.0, alpha=1), "f": Flip(p=0.5, average=False)}, "parts.m"),
        ({"m": Mixup(flip=0.0, alpha=1), "c": CutMix(flip=0.0, alpha=1)}, "parts.m"),
        ({"f": 0.5}, "parts.f"),
        (None, "parts"),
    ],
)
def test_wrong_parts(parts: Any, field: str) -> None:
    with pytest.raises(UserError) as error:
        Chain(parts)
    assert error.value.field == field


def test_chain_checks_its_parts() -> None:
    with pytest.raises(UserError) as error:
        Chain({"r": TrivialAugment(flip=0.0)}).check_images(torch.zeros(2, 1, 8, 8))
    assert error.value.field == "parts.r._target_"


def draws_outside_of_torch(image: Tensor) -> Tensor:
    return image.roll(random.randrange(1, 1000), 2)


@pytest.mark.parametrize(
    "transform",
    [
        lambda image: image.float(),
        lambda image: image[:, 1:],
        lambda image: 1 / 0,
        draws_outside_of_torch,
        v2.ToPILImage(),
    ],
)
def test_functions_that_are_refused(transform: Callable[[Tensor], Tensor], pixels: Tensor) -> None:
    augmentation = as_augmentation(transform)
    with pytest.raises(UserError) as error:
        augmentation.check_images(pixels[:4])
    assert error.value.field == "_target_"


def test_what_becomes_an_augmentation(pixels: Tensor) -> None:
    flip = Flip(p=0.5, average=False)
    assert as_augmentation(flip) is flip
    wrapped = as_augmentation(v2.RandomHorizontalFlip(1.0))
    wrapped.check_images(pixels[:4])
    assert torch.equal(wrapped(pixels, wrapped.sample_parameters(0, 0, 64, "cpu")), pixels.flip(3))
    for value in (3, "flip", None, Flip):
        with pytest.raises(UserError) as error:
            as_augmentation(value)
        assert error.value.field == "_target_"


@pytest.mark.parametrize("option", ["randaugment", "trivial", "erasing", "mixup", "cutmix", "strong"])
def test_options_train(small_run: MakeRun, option: str) -> None:
    """Each option is built, varies images of the embedded data, and knows its pixels without a mixture."""
    components = small_run(f"augmentation={option}").components
    images = components.data.train.pixels[:20]
    parameters = components.augmentation.sample_parameters(0, 0, 20, "cpu")
    assert not torch.equal(components.augmentation(images, parameters), images)
    alone = components.augmentation.without_mixing()
    assert alone.mix_labels(images, alone.sample_parameters(0, 0, 20, "cpu"), (8, 8)) is images


def test_targets_of_users(small_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    target = "torchvision.transforms.RandAugment"
    monkeypatch.setenv("PIPELINE_ALLOW", f"{target},torchvision.transforms.CenterCrop")
    assert isinstance(
        small_run("augmentation=custom", f"augmentation._target_={target}").components.augmentation, PerImage
    )
    with pytest.raises(UserError) as error:
        small_run(
            "augmentation=custom", "augmentation._target_=torchvision.transforms.CenterCrop", "augmentation.size=4"
        )
    assert error.value.field == "augmentation._target_"
