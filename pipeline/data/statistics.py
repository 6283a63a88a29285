"""Statistics of the pixels of a split, in units of scale * pixels, computed in chunks of bounded memory.

Means of integers, and standard deviations of integers in a range of 2^17, come from exact integer sums: neither the
order of summation nor the number of threads changes a digit. Other sums are in float64, and squares are taken about the
mean. Everything stays on the device of the pixels.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

_CHUNK = 1 << 20  # pixel values per chunk: 8 MB in float64, which fit into caches and which malloc keeps when freed
_COUNTABLE = 1 << 17  # widest range of pixel values for which the occurrences of each value are counted


def channel_moments(pixels: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """Return the mean and the population standard deviation of each channel, over examples and positions.

    `pixels` is (N, C, H, W); both results are (C,) float64, in units of scale * pixels.
    """
    if not pixels.dtype.is_floating_point:
        low, high = (0, 255) if pixels.dtype == torch.uint8 else map(int, pixels.aminmax())
        if high - low < _COUNTABLE:
            return _counted_moments(pixels, scale, low, high)
    mean = mean_image(pixels, 1.0).mean((1, 2))
    squares = torch.zeros_like(mean)
    for chunk in _chunks(pixels):
        squares += (chunk.double() - mean.view(-1, 1, 1)).square_().sum((0, 2, 3))
    return mean * scale, (squares / pixels[:, 0].numel()).sqrt() * scale


def mean_image(pixels: Tensor, scale: float) -> Tensor:
    """Return the mean over examples, (C, H, W) float64, in units of scale * pixels; `pixels` is (N, C, H, W)."""
    total = torch.zeros(pixels.shape[1:], dtype=torch.float64, device=pixels.device)
    for chunk in _chunks(pixels):
        total += chunk.sum(0, dtype=torch.float64)  # of integers: exact below 2^53
    return total * (scale / len(pixels))


def covariance(pixels: Tensor, scale: float) -> Tensor:
    """Return E[(x - E x)(x - E x)^T] over examples (1/N): (D, D) float64, for x = scale * pixels, flattened.

    `pixels` is (N, C, H, W) and D = C*H*W. The sums are taken in float64 about the mean.
    """
    flat = pixels.flatten(1)
    mean = mean_image(pixels, 1.0).flatten()
    products = torch.zeros((len(mean), len(mean)), dtype=torch.float64, device=pixels.device)
    for chunk in _chunks(flat):
        centred = chunk.double() - mean
        products.addmm_(centred.T, centred)
    return products.mul_(scale**2 / len(flat))


def _counted_moments(pixels: Tensor, scale: float, low: int, high: int) -> tuple[Tensor, Tensor]:
    """Compute `channel_moments` from the counts of each value low .. high: exact until the last division and root."""
    span = high - low + 1
    counts = torch.zeros((pixels.shape[1], span), dtype=torch.int64, device=pixels.device)
    for chunk in _chunks(pixels):
        for channel, count in enumerate(counts):
            values = chunk[:, channel].flatten()
            count += torch.bincount(values - low if low else values, minlength=span)
    above_low = torch.arange(span, device=pixels.device)
    n = pixels[:, 0].numel()
    totals = (counts * above_low).sum(1).tolist()
    squares = (counts * above_low**2).sum(1).tolist()
    mean = [low + total / n for total in totals]
    std = [math.sqrt((n * square - total**2) / n**2) for total, square in zip(totals, squares, strict=True)]
    moments = torch.tensor([mean, std], dtype=torch.float64, device=pixels.device) * scale
    return moments[0], moments[1]


def _chunks(pixels: Tensor) -> Iterator[Tensor]:
    yield from pixels.split(max(1, _CHUNK // pixels[0].numel()))
