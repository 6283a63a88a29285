"""Statistics of a CIFAR-sized split: seconds, and the error compared with float64 sums in another order."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipeline.data.statistics import channel_moments, covariance, mean_image
from tests.bench.budget import rounds

SCALE = 1 / 255


def measure(n: int = 50_000, *, seconds: float = 20.0, size: int = 32) -> dict[str, Any]:
    """Return the median seconds and the largest relative error of each statistic.

    The data are `n` random uint8 images (3, size, size) whose neighbouring pixels are alike. The error of the
    covariance is relative to its largest entry. "in float32" converts all pixels to floats at once, as people would
    write it. The reference: moments by numpy in float64, and the covariance in integers, by float64 products of bytes
    whose sums stay below 2^53.
    """
    draw = np.random.default_rng(0)
    coarse = draw.integers(0, 256, (n, 3, size // 4, size // 4), dtype=np.uint8)
    pixels = torch.from_numpy(
        coarse.repeat(4, 2).repeat(4, 3) // 2 + draw.integers(0, 128, (n, 3, size, size), np.uint8)
    )
    wide = pixels.numpy().reshape(n, 3, -1).swapaxes(0, 1).reshape(3, -1)
    exact_mean = [int(channel.sum(dtype=np.int64)) / channel.size for channel in wide]
    exact_std = [
        (int((channel.astype(np.uint16) ** 2).sum(dtype=np.int64)) / channel.size - mean**2) ** 0.5
        for channel, mean in zip(wide, exact_mean, strict=True)
    ]
    moments = torch.tensor([exact_mean, exact_std], dtype=torch.float64) * SCALE
    image = torch.from_numpy(pixels.numpy().sum(0, dtype=np.int64) / n * SCALE)
    products = _covariance(pixels.numpy().reshape(n, -1)) * SCALE**2
    cases: list[tuple[str, Callable[[], Tensor], Tensor, float]] = [
        ("mean and std", lambda: torch.stack(channel_moments(pixels, SCALE)), moments, 1 / 6),
        ("mean and std in float32", lambda: _float_moments(pixels), moments, 1 / 6),
        ("mean image", lambda: mean_image(pixels, SCALE), image, 1 / 6),
        ("covariance", lambda: covariance(pixels, SCALE), products, 1 / 3),
        ("covariance in float32", lambda: _float_covariance(pixels), products, 1 / 6),
    ]
    results: dict[str, Any] = {}
    for name, compute, exact, share in cases:
        median_seconds, result = _time(compute, share * seconds)
        error = float((result - exact).abs().max() / exact.abs().max())
        results[name] = {"seconds": median_seconds, "relative_error": error}
    return results | {"images": n, "threads": torch.get_num_threads()}


def _time(compute: Callable[[], Tensor], seconds: float) -> tuple[float, Tensor]:
    times = []
    for _ in rounds(seconds, at_least=1):
        started = time.perf_counter()
        result = compute()
        times.append(time.perf_counter() - started)
    return statistics.median(times), result


def _float_moments(pixels: Tensor) -> Tensor:
    x = pixels * SCALE
    return torch.stack([x.mean((0, 2, 3)), x.std((0, 2, 3), correction=0)])


def _float_covariance(pixels: Tensor) -> Tensor:
    x = pixels.flatten(1) * SCALE
    x -= x.mean(0)
    return x.T @ x / len(x)


def _covariance(flat: np.ndarray) -> Tensor:
    """Return (N sum x x^T - s s^T) / N^2, in which every sum is an integer that float64 represents exactly."""
    n = len(flat)
    products = np.zeros((flat.shape[1],) * 2)
    for rows in np.array_split(flat, max(1, n // 5_000)):
        wide = rows.astype(np.float64)
        products += wide.T @ wide  # a product of an array with itself: numpy computes half of it
    total = flat.sum(0, dtype=np.int64).astype(np.float64)
    return torch.from_numpy((n * products - np.outer(total, total)) / n**2)


if __name__ == "__main__":
    for name, value in measure().items():
        print(name, value)
