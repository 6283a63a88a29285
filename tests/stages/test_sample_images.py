"""The images in pictures.npz: which they are, their shapes, and that they use no global randomness."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from pipeline.stages.sample_images import MAX_SIDE, data_images, first_layer_filters, project_to_plane
from tests.small_run import MakeRun


def test_examples_of_each_class(small_run: MakeRun) -> None:
    small = small_run("preprocessing=standardize")
    images = data_images(small.components)
    assert list(images["steps"]) == ["pixels", "centred", "divided by the spread"]
    steps, classes, each, height, width, channels = images["examples"].shape
    assert (steps, classes, height, width, channels) == (3, 10, 8, 8, 1)
    assert each > 1
    train = small.components.data.train
    for label in range(10):
        first = train.pixels[train.labels == label][0, 0] * small.components.data.scale * 255
        np.testing.assert_allclose(images["examples"][0, label, 0, :, :, 0], first.round().numpy(), atol=1)


@pytest.mark.parametrize("preprocessing", ["none", "channel_mean", "mean_image", "standardize", "pca", "whiten"])
def test_last_step_is_network_input(small_run: MakeRun, preprocessing: str) -> None:
    small = small_run(f"preprocessing={preprocessing}")
    pixels = small.components.data.train.pixels[:20]
    steps = small.components.preprocessing.intermediate_images(pixels, scale=small.components.data.scale)
    assert next(iter(steps)) == "pixels"
    torch.testing.assert_close(list(steps.values())[-1], small.components.preprocessing(pixels), atol=1e-4, rtol=1e-4)
    assert len(steps) == 1 or abs(float(steps["centred"].mean())) < 0.1


def test_augmented_images(small_run: MakeRun) -> None:
    images = data_images(small_run("augmentation=flip").components)
    assert list(images["steps"])[:2] == ["pixels", "augmented"]
    mirrored = images["examples"][0, :, :, :, ::-1] == images["examples"][1]
    same = images["examples"][0] == images["examples"][1]
    assert (mirrored.all((2, 3, 4)) | same.all((2, 3, 4))).all()
    assert not same.all()


def test_projection_keeps_distances() -> None:
    """Points of a plane in 50 dimensions keep their distances, and that to the origin."""
    generator = torch.Generator().manual_seed(0)
    flat = torch.randn((40, 2), generator=generator).double() * torch.tensor([5.0, 1.0]) + torch.tensor([3.0, -4.0])
    basis, _ = torch.linalg.qr(torch.randn((50, 2), generator=generator).double())
    projected = project_to_plane(flat @ basis.T)
    torch.testing.assert_close(torch.cdist(projected, projected), torch.cdist(flat, flat), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(projected.norm(dim=1), flat.norm(dim=1))
    spread = projected.std(0)
    assert spread[0] > spread[1]


def test_no_global_randomness(small_run: MakeRun) -> None:
    small = small_run("augmentation=flip")
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first, second = data_images(small.components), data_images(small.components)
    assert torch.equal(before, torch.get_rng_state())
    assert all(np.array_equal(first[name], second[name]) for name in first)


def test_large_images_are_averaged() -> None:
    weights = first_layer_filters(nn.Conv2d(3, 5, 99), (3, 200, 200))["filters"]
    assert weights.shape == (5, MAX_SIDE, MAX_SIDE, 3)


def test_first_layer_filters() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 6), nn.ReLU(), nn.Linear(6, 2))
    with torch.no_grad():
        network[1].weight.zero_()
        network[1].weight[0, 0] = 1.0
    images = first_layer_filters(network, (1, 8, 8))["filters"]
    assert images.shape == (6, 8, 8, 1)
    assert images[0, 0, 0, 0] == 255
    assert set(np.unique(images[1:])) == {128}, "zero is grey"
    assert first_layer_filters(nn.Linear(3, 2), (1, 8, 8)) == {}
    assert first_layer_filters(nn.Conv2d(1, 4, 1), (1, 8, 8)) == {}, "a single pixel is no image"


def test_mixed_examples_have_both_labels(small_run: MakeRun) -> None:
    """The other class and its share stand beside each augmented tile, and are those of the mixture."""
    small = small_run("augmentation=cutmix", "augmentation.flip=0")
    images = data_images(small.components)
    partners, shares = images["mixed_with"], images["mixed_share"]
    assert partners.shape == shares.shape == images["examples"].shape[1:3]
    plain, augmented = (images["examples"][list(images["steps"]).index(name)] for name in ("pixels", "augmented"))
    for label in range(len(partners)):
        for tile, (partner, share) in enumerate(zip(partners[label], shares[label], strict=True)):
            changed = (plain[label, tile] != augmented[label, tile]).any(-1).mean()
            assert changed <= share + 1e-6
            assert 0 <= partner < 10
    assert (shares > 0.2).any()
    assert "mixed_with" not in data_images(small_run("augmentation=flip").components)
