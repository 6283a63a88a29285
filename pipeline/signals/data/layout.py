"""Whether the values of an image are where they belong: neighbouring pixels against those of other readings.

An array of images (N, H, W, C) that is reshaped to (N, C, H, W) where it should be transposed keeps all its values and
scatters them. Reading them in the right order again brings neighbours of the picture next to each other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations, permutations

import torch
from torch import Tensor

from pipeline.signals.data.subsample import subsample_indices
from pipeline.signals.schema import Layout

_MAX_EXAMPLES = 64  # images of a split; each has hundreds of neighbours
_MAX_VALUES = 1 << 18  # values of these images, of which there are 16 at least
_LIKELY = (("CHW", "HWC"), ("HWC", "CHW"), ("CHW", "CWH"), ("WHC", "CHW"))  # preferred among equals
_CLEARLY_LESS = 0.8  # of the roughness of a reading that is preferred


def layouts(splits: Mapping[str, Tensor]) -> dict[str, Layout]:
    """Return, for every split of stored pixels (N, C, H, W), the roughness as it is and in the smoothest other reading.

    A reading (from, to) lists the values in the order of the axes `from`, and takes them for an array of the axes `to`.
    The roughness is the mean squared difference of neighbours, in the direction that has the larger one, over twice the
    variance of the values of an image: 1 for noise, near 0 for smooth images. Splits are left out whose images have
    no other reading (square images of one channel, rows of a table) or no contrast.
    """
    result = {}
    for name, pixels in splits.items():
        limit = min(_MAX_EXAMPLES, max(16, _MAX_VALUES // max(1, pixels[0].numel()))) if len(pixels) else 0
        images = pixels[subsample_indices(len(pixels), limit).to(pixels.device)].float()
        images = images[images.flatten(1).std(1, correction=0) > 0] if len(images) else images
        if len(images) and (layout := _layout(images)) is not None:
            result[name] = layout
    return result


def _layout(images: Tensor) -> Layout | None:
    own, variance = _differences(images), images.flatten(1).var(1, correction=0).sum()
    best: tuple[Tensor, tuple[str, str]] | None = None
    for reading in _readings(images.shape[1:]):
        differences = _differences(_reread(images, reading))
        if best is None or differences.sum() < _CLEARLY_LESS * best[0].sum():
            best = differences, reading
    if best is None:
        return None
    differences, reading = best
    return {
        "examples": len(images),
        "shape": list(images.shape[1:]),
        "roughness": float(own.sum() / variance),
        "reading": list(reading),
        "reread_roughness": float(differences.sum() / variance),
        "smoother": float((differences < own).double().mean()),
        "channel_correlation": _channel_correlation(images),
    }


def _readings(shape: torch.Size) -> Iterator[tuple[str, str]]:
    """Yield the readings that make other values neighbours, for images of `shape` (C, H, W), each kind once.

    An image and its mirror image at the diagonal have the same neighbours.
    """
    axes = ["".join(order) for order in permutations("CHW")]
    others = [(a, b) for a in axes for b in axes if a != b and (a, b) not in _LIKELY]
    index = torch.arange(shape.numel()).view(1, *shape)
    seen = [index]
    for reading in (*_LIKELY, *others):
        order = _reread(index, reading)
        if not any(torch.equal(order, known) or torch.equal(order.transpose(2, 3), known) for known in seen):
            seen.append(order)
            yield reading


def _reread(images: Tensor, reading: tuple[str, str]) -> Tensor:
    """List the values of (N, C, H, W) in the order of the first axes, take them for the second, return (N, C, H, W)."""
    listed, taken = reading
    sizes = dict(zip("CHW", images.shape[1:], strict=True))
    values = images.permute(0, *(1 + "CHW".index(axis) for axis in listed))
    values = values.reshape(len(images), *(sizes[axis] for axis in taken))
    return values.permute(0, *(1 + taken.index(axis) for axis in "CHW"))


def _differences(images: Tensor) -> Tensor:
    """Return (N,): half the mean squared difference of neighbours, in the direction that has the larger one."""
    along = [images.diff(dim=dim).square().mean((1, 2, 3)) / 2 for dim in (2, 3) if images.shape[dim] > 1]
    return torch.stack([images.new_zeros(len(images)), *along]).amax(0)


def _channel_correlation(images: Tensor) -> float:
    """Return the mean correlation of two channels within an image; 1 for a single channel."""
    centred = images - images.mean((2, 3), keepdim=True)
    unit = torch.nn.functional.normalize(centred.flatten(2), dim=2)
    pairs = [(unit[:, a] * unit[:, b]).sum(1) for a, b in combinations(range(images.shape[1]), 2)]
    return float(torch.stack(pairs).mean()) if pairs else 1.0
