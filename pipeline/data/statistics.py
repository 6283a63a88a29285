"""Statistics of the pixels of a split, in units of scale * pixels, computed in chunks of bounded memory.

Means of integers, and standard deviations of integers in a range of 2^17, come from exact integer sums: neither the
order of summation, nor how the pixels are cut into parts, nor the number of threads changes a digit. Other sums are in
float64, and squares are taken about the mean. Pixels that are not in memory pass by once, unless they are floats.
Everything stays on the device of the pixels.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.data.pixels import Pixels, StoredPixels, pixel_chunks

_CHUNK = 1 << 20  # pixel values per chunk: 8 MB in float64, which fit into caches and which malloc keeps when freed
_COUNTABLE = 1 << 17  # widest range of integers whose squares are summed exactly


@dataclass(frozen=True)
class IntegerSums:
    """Exact sums of integers by channel. The sums of two parts of a data set add up to those of both."""

    count: int
    """Values in each channel."""
    low: int
    high: int
    totals: tuple[int, ...]
    squares: tuple[int, ...]

    @classmethod
    def of(cls, chunk: Tensor) -> IntegerSums | None:
        """Return the sums of pixels (N, C, H, W); None where their range is too wide."""
        low, high = (0, 255) if chunk.dtype == torch.uint8 else map(int, chunk.aminmax())
        if high - low >= _COUNTABLE:
            return None
        count, above_low = chunk[:, 0].numel(), chunk.transpose(0, 1).flatten(1)
        if chunk.dtype == torch.uint8:
            values = torch.arange(256, device=chunk.device)
            counts = torch.stack([torch.bincount(channel, minlength=256) for channel in above_low])
            sums, squares = (counts * values).sum(1).tolist(), (counts * values**2).sum(1).tolist()
        else:
            above_low = above_low.long() - low
            sums, squares = above_low.sum(1).tolist(), above_low.square_().sum(1).tolist()
        totals = tuple(total + low * count for total in sums)
        about_zero = [s + 2 * low * total + count * low**2 for s, total in zip(squares, sums, strict=True)]
        return cls(count, low, high, totals, tuple(about_zero))

    def __add__(self, other: IntegerSums) -> IntegerSums:
        return IntegerSums(
            self.count + other.count,
            min(self.low, other.low),
            max(self.high, other.high),
            tuple(map(operator.add, self.totals, other.totals)),
            tuple(map(operator.add, self.squares, other.squares)),
        )

    def moments(self) -> tuple[list[float], list[float]]:
        """Return the mean and the standard deviation of each channel: exact until the last division and root."""
        n, low = self.count, self.low
        mean = [low + (total - low * n) / n for total in self.totals]
        variances = [(n * s - total**2) / n**2 for total, s in zip(self.totals, self.squares, strict=True)]
        return mean, list(map(math.sqrt, variances))


def channel_moments(pixels: Pixels, scale: float) -> tuple[Tensor, Tensor]:
    """Return the mean and the population standard deviation of each channel, over examples and positions.

    `pixels` is (N, C, H, W); both results are (C,) float64, in units of scale * pixels.
    """
    sums = None if pixels.dtype.is_floating_point else _add_up(IntegerSums.of(chunk) for chunk in _chunks(pixels))
    if sums is not None and sums.high - sums.low < _COUNTABLE:
        moments = torch.tensor(sums.moments(), dtype=torch.float64, device=pixels.device) * scale
        return moments[0], moments[1]
    mean = mean_image(pixels, 1.0).mean((1, 2))
    squares = torch.zeros_like(mean)
    for chunk in _chunks(pixels):
        squares += (chunk.double() - mean.view(-1, 1, 1)).square_().sum((0, 2, 3))
    return mean * scale, (squares / (pixels.numel() / pixels.shape[1])).sqrt() * scale


def mean_image(pixels: Pixels, scale: float) -> Tensor:
    """Return the mean over examples, (C, H, W) float64, in units of scale * pixels; `pixels` is (N, C, H, W)."""
    total = torch.zeros(pixels.shape[1:], dtype=torch.float64, device=pixels.device)
    for chunk in _chunks(pixels):
        total += chunk.sum(0, dtype=torch.float64)  # of integers: exact below 2^53
    return total * (scale / len(pixels))


def covariance(pixels: Pixels, scale: float) -> Tensor:
    """Return E[(x - E x)(x - E x)^T] over examples (1/N): (D, D) float64, for x = scale * pixels, flattened.

    `pixels` is (N, C, H, W) and D = C*H*W.
    """
    return mean_and_covariance(pixels, scale)[1]


def mean_and_covariance(pixels: Pixels, scale: float) -> tuple[Tensor, Tensor]:
    """Return the mean (D,) of stored pixels, without the scale, and their `covariance`, in float64.

    Products are summed about the mean; of pixels that are not in memory, about the mean of the first of them, since the
    mean of all is not known before they have passed: with d = mean - that one, the covariance is the sum / N - d d^T.
    """
    about = mean_image(pixels if isinstance(pixels, Tensor) else next(_chunks(pixels)), 1.0).flatten()
    total = torch.zeros_like(about)
    products = torch.zeros((len(about), len(about)), dtype=torch.float64, device=pixels.device)
    for chunk in _chunks(pixels):
        centred = chunk.flatten(1).double() - about
        products.addmm_(centred.T, centred)
        if isinstance(pixels, StoredPixels):
            total += centred.sum(0)
    offset = total / len(pixels)
    products.mul_(scale**2 / len(pixels))
    if isinstance(pixels, StoredPixels):
        products.addr_(offset, offset, alpha=-(scale**2))
    return about + offset, products


def _add_up(parts: Iterable[IntegerSums | None]) -> IntegerSums | None:
    """Return the sum of all parts; None where one is None, without looking at those after it."""
    total: IntegerSums | None = None
    for part in parts:
        if part is None:
            return None
        total = part if total is None else total + part
    return total


def _chunks(pixels: Pixels) -> Iterator[Tensor]:
    rows = max(1, _CHUNK // max(1, pixels.shape[1:].numel()))
    for block in pixel_chunks(pixels) if isinstance(pixels, StoredPixels) else [pixels]:
        yield from block.split(rows)
