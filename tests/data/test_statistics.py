"""Statistics of pixels against slow oracles: in float64 over all values at once, and in exact fractions."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from torch import Tensor

from pipeline.data.statistics import channel_moments, covariance, mean_image

SCALE = 1 / 255
SHAPE = (40_001, 3, 5, 4)  # three chunks of 2^20 values, the last one shorter

each_dtype = pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.float32])


def random_pixels(dtype: torch.dtype, *shape: int) -> Tensor:
    random = torch.Generator().manual_seed(0)
    if dtype == torch.float32:
        return torch.rand(shape, generator=random)
    return torch.randint(0, 256 if dtype == torch.uint8 else 65536, shape, dtype=dtype, generator=random)


@each_dtype
def test_channel_moments(dtype: torch.dtype) -> None:
    pixels = random_pixels(dtype, *SHAPE)
    mean, std = channel_moments(pixels, SCALE)
    oracle = pixels.double().transpose(0, 1).flatten(1) * SCALE
    torch.testing.assert_close(mean, oracle.mean(1), rtol=1e-13, atol=0)
    torch.testing.assert_close(std, oracle.std(1, correction=0), rtol=1e-13, atol=0)
    assert mean.dtype == std.dtype == torch.float64


def test_counted_moments_are_exact() -> None:
    """The result is the fraction, rounded once."""
    pixels = random_pixels(torch.uint8, 101, 1, 5, 4)
    values = [Fraction(value) for value in pixels.flatten().tolist()]
    mean = sum(values) / len(values)
    variance = sum((value - mean) ** 2 for value in values) / len(values)
    measured_mean, measured_std = channel_moments(pixels, 1.0)
    assert measured_mean.item() == float(mean)
    assert measured_std.item() == float(variance) ** 0.5


@pytest.mark.parametrize("low", [-70_000, 2_000_000_000])
def test_integers_of_any_range(low: int) -> None:
    """Negative ones, ones near the end of int32, and ranges too wide to count."""
    for span in (5, 200_000):
        steps = torch.randint(0, span, (50, 2, 3, 3), dtype=torch.int64, generator=torch.Generator().manual_seed(1))
        mean, std = channel_moments((steps + low).int(), 1.0)
        oracle = steps.double().transpose(0, 1).flatten(1)
        torch.testing.assert_close(mean, oracle.mean(1) + low, rtol=1e-14, atol=0)
        torch.testing.assert_close(std, oracle.std(1, correction=0), rtol=1e-9, atol=0)


def test_floats_far_from_zero() -> None:
    """Their spread is not lost beside their mean."""
    pixels = 10_000 + random_pixels(torch.float32, 200, 1, 4, 4)
    _, std = channel_moments(pixels, 1.0)
    torch.testing.assert_close(std.item(), pixels.double().std(correction=0).item(), rtol=1e-10, atol=0)
    torch.testing.assert_close(
        covariance(pixels, 1.0), torch.cov(pixels.double().flatten(1).T, correction=0), rtol=1e-9, atol=1e-12
    )


@each_dtype
def test_mean_image(dtype: torch.dtype) -> None:
    pixels = random_pixels(dtype, *SHAPE)
    torch.testing.assert_close(mean_image(pixels, SCALE), pixels.double().mean(0) * SCALE, rtol=1e-13, atol=0)


@each_dtype
def test_covariance(dtype: torch.dtype) -> None:
    pixels = random_pixels(dtype, *SHAPE)
    oracle = torch.cov(pixels.double().flatten(1).T * SCALE, correction=0)
    measured = covariance(pixels, SCALE)
    assert measured.dtype == torch.float64
    torch.testing.assert_close(measured, oracle, rtol=0, atol=1e-12 * oracle.max().item())


@pytest.mark.parametrize("shape", [(64, 1, 4, 4), (1, 1, 1, 17), (61, 1, 1, 19), (64, 1, 1, 1), (70, 3, 8, 8)])
def test_covariance_of_bytes(shape: tuple[int, ...]) -> None:
    """Against sums of integers, which are exact; half of the images have extreme values."""
    pixels = random_pixels(torch.uint8, *shape)
    pixels[: shape[0] // 2] = pixels[: shape[0] // 2] // 128 * 255
    rows = pixels.flatten(1).long()
    n = len(rows)
    exact = (n * (rows.T @ rows) - torch.outer(rows.sum(0), rows.sum(0))).double() / n**2
    torch.testing.assert_close(covariance(pixels, 1.0), exact, rtol=0, atol=1e-12 * exact.max().item())
