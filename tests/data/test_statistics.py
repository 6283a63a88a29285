from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from torch import Tensor

from pipeline.data import statistics
from pipeline.data.statistics import channel_moments, covariance, mean_image

SCALE = 1 / 255


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that small tensors, too, come in several chunks, the last one shorter."""
    monkeypatch.setattr(statistics, "_CHUNK", 1000)
    monkeypatch.setattr(statistics, "_INT8_ROWS", 30)


def random_pixels(dtype: torch.dtype, *shape: int) -> Tensor:
    random = torch.Generator().manual_seed(0)
    if dtype == torch.float32:
        return torch.rand(shape, generator=random)
    return torch.randint(0, 256 if dtype == torch.uint8 else 65536, shape, dtype=dtype, generator=random)


KINDS = pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.float32])


@KINDS
def test_channel_moments(dtype: torch.dtype) -> None:
    pixels = random_pixels(dtype, 101, 3, 5, 4)
    mean, std = channel_moments(pixels, SCALE)
    oracle = pixels.double().transpose(0, 1).flatten(1) * SCALE
    torch.testing.assert_close(mean, oracle.mean(1), rtol=1e-14, atol=0)
    torch.testing.assert_close(std, oracle.std(1, correction=0), rtol=1e-13, atol=0)
    assert mean.dtype == std.dtype == torch.float64


def test_counted_moments_are_exact_to_the_last_rounding() -> None:
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


def test_floats_far_from_zero_keep_their_spread() -> None:
    pixels = 10_000 + random_pixels(torch.float32, 200, 1, 4, 4)
    _, std = channel_moments(pixels, 1.0)
    torch.testing.assert_close(std.item(), pixels.double().std(correction=0).item(), rtol=1e-10, atol=0)
    torch.testing.assert_close(
        covariance(pixels, 1.0), torch.cov(pixels.double().flatten(1).T, correction=0), rtol=1e-9, atol=1e-12
    )


@KINDS
def test_mean_image(dtype: torch.dtype) -> None:
    pixels = random_pixels(dtype, 101, 3, 5, 4)
    torch.testing.assert_close(mean_image(pixels, SCALE), pixels.double().mean(0) * SCALE, rtol=1e-14, atol=0)


@KINDS
def test_covariance(dtype: torch.dtype) -> None:
    pixels = random_pixels(dtype, 101, 3, 5, 4)
    oracle = torch.cov(pixels.double().flatten(1).T * SCALE, correction=0)
    torch.testing.assert_close(covariance(pixels, SCALE), oracle, rtol=1e-11, atol=1e-14 * oracle.max().item())


@pytest.mark.parametrize("shape", [(64, 1, 4, 4), (1, 1, 1, 17), (61, 1, 1, 19), (90, 2, 3, 3), (70, 3, 8, 8)])
def test_byte_covariance_is_exact(shape: tuple[int, ...]) -> None:
    """Against integers."""
    pixels = random_pixels(torch.uint8, *shape)
    pixels[: shape[0] // 2] = pixels[: shape[0] // 2] // 128 * 255  # extremes: the largest products
    rows = pixels.flatten(1).long()
    n = len(rows)
    numerator = n * (rows.T @ rows) - torch.outer(rows.sum(0), rows.sum(0))
    assert torch.equal(covariance(pixels, 1.0), numerator.double() * (1.0 / n**2))


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 15])
def test_covariance_of_few_dimensions(size: int) -> None:
    pixels = random_pixels(torch.uint8, 64, size, 1, 1)
    oracle = torch.cov(pixels.double().flatten(1).T, correction=0).view(size, size)
    torch.testing.assert_close(covariance(pixels, 1.0), oracle, rtol=1e-11, atol=1e-9)


def test_both_ways_to_the_covariance_of_bytes_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = random_pixels(torch.uint8, 101, 3, 5, 4)
    fast = covariance(pixels, SCALE)
    monkeypatch.setattr(statistics, "_int8_product_is_exact", lambda: False)
    torch.testing.assert_close(covariance(pixels, SCALE), fast, rtol=1e-11, atol=1e-16)


def test_saturating_int8_products_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def saturating(a: Tensor, b: Tensor) -> Tensor:
        """Pairs of (byte + 128) * byte in 16 bits, as without VNNI; then the shift is taken back."""
        pairs = ((a.int() + 128)[:, :, None] * b.int()[None]).unflatten(1, (-1, 2)).sum(2)
        return pairs.clamp(-(2**15), 2**15 - 1).sum(1) - 128 * b.int().sum(0)

    exact = statistics._int8_product_is_exact.__wrapped__
    monkeypatch.setattr(torch, "_int_mm", saturating)
    assert not exact()
    monkeypatch.setattr(torch, "_int_mm", lambda a, b: a.int() @ b.int())
    assert exact()
