"""Statistics of a split's pixels, times `scale`, in chunks of bounded memory.

Whole-numbered pixels are counted or summed as integers, so that the result is exact up to its last rounding and no
order of summation or number of threads changes a digit. Floats are summed in float64, spreads around the mean.
Everything stays on the device of the pixels.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from functools import lru_cache

import torch
from torch import Tensor

_CHUNK = 1 << 22  # pixel values per chunk: small enough for caches, 32 MB in float64
_COUNTABLE = 1 << 17  # widest range of pixel values for which each value is counted
_INT8_ROWS = 1 << 14  # examples per int8 product: |sum| <= 2^14 * 2^14 fits int32
_INT8_SIZE = 16  # fewer dimensions gain nothing; and torch 2.14's int8 product of a row with a column is wrong
_BLOCKS = 4  # strips of the covariance, each computed from its diagonal on: 10/16 of the work


def channel_moments(pixels: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """Mean and population standard deviation of each channel over examples and positions.

    `pixels` (N, C, H, W); both results (C,) float64, in units of scale * pixels.
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
    """The mean over examples, (C, H, W) float64, in units of scale * pixels (N, C, H, W)."""
    total = torch.zeros(pixels.shape[1:], dtype=torch.float64, device=pixels.device)
    for chunk in _chunks(pixels):
        total += chunk.sum(0, dtype=torch.float64)  # of integers: exact below 2^53
    return total * (scale / len(pixels))


def covariance(pixels: Tensor, scale: float) -> Tensor:
    """E[(x - E x)(x - E x)^T] over examples (1/N), (D, D) float64, D = C*H*W; x = scale * pixels, flattened.

    On the CPU bytes go through int8 products with int32 sums: with b = pixels - 128 and S = sum b b^T, s = sum b, it
    is scale^2 (N S - s s^T) / N^2, in which all but the last factor is exact (up to N = 741,000).
    """
    flat = pixels.flatten(1)
    bytes_on_cpu = pixels.dtype == torch.uint8 and pixels.device.type == "cpu"
    if bytes_on_cpu and flat.shape[1] >= _INT8_SIZE and _int8_product_is_exact():
        return _byte_covariance(flat, scale)
    result = torch.zeros((flat.shape[1], flat.shape[1]), dtype=torch.float64, device=pixels.device)
    mean = mean_image(pixels, 1.0).flatten()
    for chunk in _chunks(flat):
        centred = chunk.double() - mean
        result.addmm_(centred.T, centred)
    return result.mul_(scale**2 / len(flat))


def _counted_moments(pixels: Tensor, scale: float, low: int, high: int) -> tuple[Tensor, Tensor]:
    """From the number of times each value low .. high occurs: exact until the final division and root."""
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


def _byte_covariance(flat: Tensor, scale: float) -> Tensor:
    n, size = flat.shape
    result = torch.zeros((size, size), dtype=torch.float64)
    total = torch.zeros(size, dtype=torch.float64)
    edges = [size * i // _BLOCKS for i in range(_BLOCKS + 1)]
    strips = list(itertools.pairwise(edges))
    for rows in flat.split(max(1, min(_INT8_ROWS, (1 << 26) // size))):
        shifted = rows.view(torch.int8) ^ -128  # flips the top bit: the byte minus 128
        for chunk in _chunks(shifted):
            total += chunk.sum(0, dtype=torch.float64)
        for start, end in strips:
            result[start:end, start:] += torch._int_mm(shifted[:, start:end].T, shifted[:, start:])
    for start, end in strips:
        result[end:, start:end] = result[start:end, end:].T
    return result.addr_(total, total, beta=n, alpha=-1).mul_(scale**2 / n**2)


@lru_cache(maxsize=1)
def _int8_product_is_exact() -> bool:
    """Whether int8 products keep all bits: on CPUs without VNNI instructions pairs of products may saturate in 16."""
    ends = torch.tensor([-128, 127], dtype=torch.int8)
    extreme = ends[torch.randint(2, (64, 64), generator=torch.Generator().manual_seed(0))]
    return torch.equal(torch._int_mm(extreme.T, extreme).long(), extreme.long().T @ extreme.long())


def _chunks(pixels: Tensor) -> Iterator[Tensor]:
    yield from pixels.split(max(1, _CHUNK // pixels[0].numel()))
