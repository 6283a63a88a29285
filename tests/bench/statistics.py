"""Statistics of a CIFAR-sized split: seconds, and the error against float64 sums taken in another way."""

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
    """Of n random images (3, size, size) of bytes with neighbours that resemble each other: per statistic the median
    of seconds, and the largest relative error (of the covariance: of its largest entry).

    The oracle: moments by numpy in float64; the covariance in integers, by float64 products of bytes, whose sums stay
    below 2^53.
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
    found = {
        "mean_and_std": _timed(lambda: torch.stack(channel_moments(pixels, SCALE)), seconds / 6),
        "mean_image": _timed(lambda: mean_image(pixels, SCALE), seconds / 6),
        "covariance": _timed(lambda: covariance(pixels, SCALE), seconds / 3),
    }
    oracles = {
        "mean_and_std": torch.tensor([exact_mean, exact_std], dtype=torch.float64) * SCALE,
        "mean_image": torch.from_numpy(pixels.numpy().sum(0, dtype=np.int64) / n * SCALE),
        "covariance": _covariance(pixels.numpy().reshape(n, -1)) * SCALE**2,
    }
    return {
        name: {
            "seconds": seconds,
            "relative_error": float((result - oracles[name]).abs().max() / oracles[name].abs().max()),
        }
        for name, (seconds, result) in found.items()
    } | {"images": n, "threads": torch.get_num_threads()}


def _timed(compute: Callable[[], Tensor], seconds: float) -> tuple[float, Tensor]:
    took = []
    for _ in rounds(seconds, least=1):
        started = time.perf_counter()
        result = compute()
        took.append(time.perf_counter() - started)
    return statistics.median(took), result


def _covariance(flat: np.ndarray) -> Tensor:
    """(N sum x x^T - s s^T) / N^2, in which every sum is a whole number that float64 holds exactly."""
    n = len(flat)
    products = np.zeros((flat.shape[1],) * 2)
    for rows in np.array_split(flat, max(1, n // 5_000)):
        products += rows.T.astype(np.float64) @ rows.astype(np.float64)
    total = flat.sum(0, dtype=np.int64).astype(np.float64)
    return torch.from_numpy((n * products - np.outer(total, total)) / n**2)


if __name__ == "__main__":
    for name, value in measure().items():
        print(name, value)
