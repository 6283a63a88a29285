"""Every preprocessing against its formula or its properties, and what they all promise."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import Tensor

from pipeline.data import Affine, Images, Preprocessing, Source, preprocessing, preprocessing_from_state, split
from pipeline.errors import UserError

SCALE = 1 / 255
FITS: dict[str, Callable[..., Preprocessing]] = {
    "none": preprocessing.none,
    "mean_image": preprocessing.mean_image,
    "channel_mean": preprocessing.channel_mean,
    "standardize": preprocessing.standardize,
    "pca": partial(preprocessing.pca, components=None),
    "pca_5": partial(preprocessing.pca, components=5),
    "whiten": partial(preprocessing.whiten, epsilon=1e-5),
}
each_fit = pytest.mark.parametrize("fit", FITS.values(), ids=FITS.keys())


@pytest.fixture
def pixels() -> Tensor:
    """Correlated neighbours and channels of different brightness, as in images."""
    noise = torch.randn((300, 2, 4, 3), generator=torch.Generator().manual_seed(0)).cumsum(3)
    return (100 + 20 * noise + torch.tensor([0.0, 40.0]).view(2, 1, 1)).clamp(0, 255).to(torch.uint8)


def oracle(name: str, x: Tensor) -> Tensor:
    """Return what each option computes, for x in float64 and [0, 1]; PCA and whitening have properties instead."""
    mean, std = x.mean((0, 2, 3), keepdim=True), x.std((0, 2, 3), keepdim=True, correction=0)
    return {
        "none": x,
        "mean_image": x - x.mean(0),
        "channel_mean": x - mean,
        "standardize": (x - mean) / std,
    }[name]


@pytest.mark.parametrize("name", ["none", "mean_image", "channel_mean", "standardize"])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.float32])
def test_formula(name: str, dtype: torch.dtype, pixels: Tensor) -> None:
    pixels = pixels.to(dtype)
    result = FITS[name](pixels, scale=SCALE)(pixels)
    torch.testing.assert_close(result.double(), oracle(name, pixels.double() * SCALE), rtol=1e-6, atol=2e-6)


def test_pca(pixels: Tensor) -> None:
    x = pixels.double().flatten(1) * SCALE
    result = FITS["pca"](pixels, scale=SCALE)(pixels).double().flatten(1)
    covariance = result.T @ result / len(result)
    variances = torch.linalg.eigvalsh(torch.cov(x.T, correction=0)).flip(0)
    torch.testing.assert_close(covariance, torch.diag(variances), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(torch.cdist(result, result), torch.cdist(x, x), rtol=1e-4, atol=1e-5)  # a rotation
    assert result.mean(0).abs().max() < 1e-6


def test_pca_components(pixels: Tensor) -> None:
    few, all_ = (FITS[name](pixels, scale=SCALE) for name in ("pca_5", "pca"))
    assert few.output_shape == (5, 1, 1)
    torch.testing.assert_close(few(pixels).flatten(1), all_(pixels).flatten(1)[:, :5])
    matrix = all_.matrix.flatten(1)
    assert (matrix.gather(0, matrix.abs().argmax(0, keepdim=True)) > 0).all()


def test_whitening(pixels: Tensor) -> None:
    whitening = preprocessing.whiten(pixels, scale=SCALE, epsilon=1e-9)
    result = whitening(pixels).double().flatten(1)
    identity = torch.eye(result.shape[1], dtype=torch.float64)
    torch.testing.assert_close(result.T @ result / len(result), identity, rtol=0, atol=1e-3)
    matrix = whitening.matrix.flatten(1)
    torch.testing.assert_close(matrix, matrix.T, rtol=1e-4, atol=1e-5)  # ZCA: symmetric, no rotation


def test_whitening_with_epsilon(pixels: Tensor) -> None:
    epsilon = 1e-2
    result = preprocessing.whiten(pixels, scale=SCALE, epsilon=epsilon)(pixels).double().flatten(1)
    variances = torch.linalg.eigvalsh(torch.cov(pixels.double().flatten(1).T * SCALE, correction=0))
    shrunk = torch.linalg.eigvalsh(result.T @ result / len(result))
    torch.testing.assert_close(shrunk, variances / (variances + epsilon), rtol=1e-4, atol=1e-5)


def test_degenerate_pixels_stay_finite(pixels: Tensor) -> None:
    pixels[:, 1] = 7
    for name, fit in FITS.items():
        result = fit(pixels, scale=SCALE)(pixels)
        assert result.isfinite().all(), name
    # an epsilon that is smaller than the rounding errors of the eigenvalues
    tiny = preprocessing.whiten(pixels[:10], scale=SCALE, epsilon=1e-25)
    assert tiny.matrix.isfinite().all()
    assert FITS["standardize"](pixels, scale=SCALE)(pixels)[:, 1].abs().max() < 1e-6


@each_fit
def test_output_and_input(fit: Callable[..., Preprocessing], pixels: Tensor) -> None:
    """The output is float32 of the stated shape; the input is not changed."""
    fitted = fit(pixels, scale=SCALE)
    for dtype in (torch.uint8, torch.int32, torch.float32):
        images = pixels.to(dtype)
        result = fitted(images)
        assert result.dtype == torch.float32
        assert result.shape == (300, *fitted.output_shape)
        assert torch.equal(images, pixels.to(dtype))


@each_fit
def test_checkpoint(fit: Callable[..., Preprocessing], pixels: Tensor) -> None:
    fitted = fit(pixels, scale=SCALE)
    file = io.BytesIO()
    torch.save(fitted.state_dict(), file)
    file.seek(0)
    state = torch.load(file, weights_only=True)
    blank = fit(255 - pixels // 2, scale=1.0)
    assert not torch.equal(blank(pixels), fitted(pixels))
    blank.load_state_dict(state)
    for restored in (blank, preprocessing_from_state(state)):
        assert torch.equal(restored(pixels), fitted(pixels))
        assert restored.output_shape == fitted.output_shape


def test_affine_state_dicts(pixels: Tensor) -> None:
    blank = Affine(torch.zeros(2, 4, 3), torch.zeros(2, 4, 3))
    for name in ("none", "mean_image", "channel_mean", "standardize"):
        fitted = FITS[name](pixels, scale=SCALE)
        blank.load_state_dict(fitted.state_dict())
        assert torch.equal(blank(pixels), fitted(pixels))


@each_fit
def test_no_parameters_and_no_autocast(fit: Callable[..., Preprocessing], pixels: Tensor) -> None:
    fitted = fit(pixels, scale=SCALE)
    assert not list(fitted.parameters())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(fitted(pixels), fitted.eval()(pixels))
        result = fitted(pixels)
    assert torch.equal(result, fitted(pixels))


@each_fit
def test_only_training_images_are_fitted(fit: Callable[..., Preprocessing], pixels: Tensor) -> None:
    """When every held-out pixel is changed, every bit of the buffers stays."""
    labels = torch.arange(300) % 3
    options = {"validation": 0.2, "test": 0.2, "seed": 1, "limit": None}
    source = Source(name="s", train=Images(pixels, labels), test=None, classes=("a", "b", "c"), scale=SCALE)
    before = split(source, **options)
    in_training = {tuple(image) for image in before.train.pixels.flatten(1).tolist()}
    held_out = torch.tensor([tuple(image) not in in_training for image in pixels.flatten(1).tolist()])
    assert held_out.sum() == 120
    changed = pixels.clone()
    changed[held_out] = 255 - changed[held_out]
    after = split(replace(source, train=Images(changed, labels)), **options)
    assert not torch.equal(before.val.pixels, after.val.pixels)
    assert not torch.equal(before.test.pixels, after.test.pixels)
    states = [fit(splits.train.pixels, scale=splits.scale).state_dict() for splits in (before, after)]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


@pytest.mark.parametrize("components", [0, 25, -1, 2.5])
def test_invalid_components(components: int, pixels: Tensor) -> None:
    with pytest.raises(UserError) as error:
        preprocessing.pca(pixels, scale=SCALE, components=components)
    assert error.value.field == "components"


@pytest.mark.parametrize("epsilon", [0, -1.0, float("nan")])
def test_invalid_epsilon(epsilon: float, pixels: Tensor) -> None:
    with pytest.raises(UserError) as error:
        preprocessing.whiten(pixels, scale=SCALE, epsilon=epsilon)
    assert error.value.field == "epsilon"


@pytest.mark.parametrize("name", ["pca", "whiten"])
def test_images_too_large(name: str) -> None:
    with pytest.raises(UserError, match="150528"):
        FITS[name](torch.zeros((2, 3, 224, 224), dtype=torch.uint8), scale=SCALE)


@each_fit
def test_other_device(fit: Callable[..., Preprocessing]) -> None:
    fitted = fit(torch.arange(108.0).reshape(9, 3, 2, 2), scale=1.0)
    moved = fitted.on("meta")
    assert {buffer.device.type for buffer in moved.buffers()} == {"meta"}
    assert {buffer.device.type for buffer in fitted.buffers()} == {"cpu"}  # all stages share the original
    assert fitted.on("cpu") is fitted
