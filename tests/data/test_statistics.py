from __future__ import annotations

import time
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
    monkeypatch.setattr(statistics, "_FLOAT_ROWS", 30)


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


@pytest.mark.parametrize("int8", [True, False])
@pytest.mark.parametrize("shape", [(64, 1, 4, 4), (1, 1, 1, 17), (61, 1, 1, 19), (90, 2, 3, 3), (70, 3, 8, 8)])
def test_byte_covariance_is_exact(shape: tuple[int, ...], int8: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against integers, by either product."""
    monkeypatch.setattr(statistics, "_int8_product_is_exact_and_fast", lambda: int8)
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


def test_as_many_rows_as_are_multiplied_at_once_keep_all_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()  # the real numbers of rows
    assert statistics._is_exact(statistics._float_product, statistics._FLOAT_ROWS)
    assert not statistics._is_exact(statistics._float_product, 4 * statistics._FLOAT_ROWS)
    ones = torch.ones(statistics._INT8_ROWS + 1, 16, 1, 1, dtype=torch.uint8)  # -127 each: large, and not even
    for int8 in (True, False):
        monkeypatch.setattr(statistics, "_int8_product_is_exact_and_fast", lambda int8=int8: int8)
        assert torch.equal(covariance(ones, 1.0), torch.zeros(16, 16, dtype=torch.float64))


def test_without_exact_products_bytes_are_summed_as_doubles(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = random_pixels(torch.uint8, 101, 3, 5, 4)
    fast = covariance(pixels, SCALE)
    monkeypatch.setattr(statistics, "_int8_product_is_exact_and_fast", lambda: False)
    monkeypatch.setattr(statistics, "_float_product", lambda a, b: (a.T.bfloat16() @ b.bfloat16()).float())
    torch.testing.assert_close(covariance(pixels, SCALE), fast, rtol=1e-11, atol=1e-16)


def test_saturating_int8_products_are_noticed() -> None:
    def saturating(a: Tensor, b: Tensor) -> Tensor:
        """Pairs of (byte + 128) * byte in 16 bits, as without VNNI; then the shift is taken back."""
        pairs = ((a.T.int() + 128)[:, :, None] * b.int()[None]).unflatten(1, (-1, 2)).sum(2)
        return pairs.clamp(-(2**15), 2**15 - 1).sum(1) - 128 * b.int().sum(0)

    assert not statistics._is_exact(saturating, 64)
    assert statistics._is_exact(lambda a, b: a.T.int() @ b.int(), 64)


def test_int8_products_that_take_longer_than_floats_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(a: Tensor, b: Tensor) -> Tensor:
        time.sleep(0.01 * (len(a) == 256))
        return a.T.int() @ b.int()

    def slower(a: Tensor, b: Tensor) -> Tensor:
        time.sleep(0.05 * (len(a) == 256))
        return a.T.float() @ b.float()

    asked = statistics._int8_product_is_exact_and_fast.__wrapped__
    monkeypatch.setattr(statistics, "_int8_product", slow)
    assert not asked()
    monkeypatch.setattr(statistics, "_float_product", slower)
    assert asked()
    monkeypatch.setattr(statistics, "_int8_product", lambda a, b: (a.T.int() @ b.int()).clamp(-(2**15), 2**15 - 1))
    assert not asked()  # fast, and wrong
