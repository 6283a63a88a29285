"""Statistics of a split's pixels, times `scale`, in chunks of bounded memory.

Whole-numbered pixels are counted or summed as integers, so that the result is exact up to its last rounding and no
order of summation or number of threads changes a digit. Floats are summed in float64, spreads around the mean.
Everything stays on the device of the pixels.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterator
from functools import lru_cache

import torch
from torch import Tensor

_CHUNK = 1 << 20  # pixel values per chunk: 8 MB in float64, which stay in caches and, freed, in the process
_COUNTABLE = 1 << 17  # widest range of pixel values for which each value is counted
_INT8_ROWS = 1 << 14  # examples per int8 product: |sum| <= 2^14 * 2^14 fits int32
_FLOAT_ROWS = 1 << 10  # examples per float32 product: |sum| <= 2^14 * 2^10, up to which it holds every whole number
_SMALLEST = 16  # fewer dimensions gain nothing; and torch 2.14's int8 product of a row with a column is wrong
_BLOCKS = 8


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

    On the CPU bytes go through products of whole numbers: with b = pixels - 128 and S = sum b b^T, s = sum b, it
    is scale^2 (N S - s s^T) / N^2, in which all but the last factor is exact (up to N = 741,000).
    """
    flat = pixels.flatten(1)
    if pixels.dtype == torch.uint8 and pixels.device.type == "cpu" and flat.shape[1] >= _SMALLEST:
        if _int8_product_is_exact_and_fast():
            return _byte_covariance(flat, scale, _int8_product, _INT8_ROWS)
        if _is_exact(_float_product, _FLOAT_ROWS):
            return _byte_covariance(flat, scale, _float_product, _FLOAT_ROWS)
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


def _byte_covariance(flat: Tensor, scale: float, product: Callable[[Tensor, Tensor], Tensor], most: int) -> Tensor:
    """With `product` of at most `most` rows at once."""
    n, size = flat.shape
    result = torch.zeros((size, size), dtype=torch.float64)
    total = torch.zeros(size, dtype=torch.float64)
    edges = [size * i // _BLOCKS for i in range(_BLOCKS + 1)]
    strips = list(itertools.pairwise(edges))
    for rows in flat.split(max(1, min(most, (1 << 26) // size))):
        shifted = rows.view(torch.int8) ^ -128  # flips the top bit: the byte minus 128
        for chunk in _chunks(shifted):
            total += chunk.sum(0, dtype=torch.float64)
        for start, end in strips:
            result[start:end, start:] += product(shifted[:, start:end], shifted[:, start:])
    for start, end in strips:
        result[end:, start:end] = result[start:end, end:].T
    return result.addr_(total, total, beta=n, alpha=-1).mul_(scale**2 / n**2)


def _int8_product(a: Tensor, b: Tensor) -> Tensor:
    return torch._int_mm(a.T, b)


def _float_product(a: Tensor, b: Tensor) -> Tensor:
    return a.T.float() @ b.float()


@lru_cache(maxsize=1)
def _int8_product_is_exact_and_fast() -> bool:
    """On CPUs without VNNI instructions torch takes 40 times as long as for floats, and others let pairs of products
    saturate in 16 bits. Which of two exact ways is taken changes no digit."""
    if not _is_exact(_int8_product, 64):
        return False
    some = torch.ones(256, 256, dtype=torch.int8)

    def seconds(product: Callable[[Tensor, Tensor], Tensor]) -> float:
        started = time.perf_counter()
        product(some, some)
        return time.perf_counter() - started

    return min(seconds(_int8_product) for _ in range(5)) < min(seconds(_float_product) for _ in range(5))


def _is_exact(product: Callable[[Tensor, Tensor], Tensor], rows: int) -> bool:
    """Whether it keeps all bits of so many rows; float32 may have been allowed to round on its way."""
    ends = torch.tensor([-128, 127], dtype=torch.int8)
    extreme = ends[torch.randint(2, (rows, 64), generator=torch.Generator().manual_seed(0))]
    return torch.equal(product(extreme, extreme).long(), extreme.long().T @ extreme.long())


def _chunks(pixels: Tensor) -> Iterator[Tensor]:
    yield from pixels.split(max(1, _CHUNK // pixels[0].numel()))
