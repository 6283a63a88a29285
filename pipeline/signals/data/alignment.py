"""How much two images have in common where one is laid over the other, shifted by some pixels.

Compared is the detail of grey images: what is left of each pixel when its wider surroundings are taken away. Brightness
and contrast then do not matter, and neither does what all images of a kind have in common, such as a bright centre.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

_FAINTEST = 1e-3  # of the strongest detail of an image; below it a detail is a rounding error


def shrink(pixels: Tensor, side: int) -> Tensor:
    """Return grey images (N, h, w) of about `side` pixels along the shorter side; (N, C, H, W) are averaged down."""
    factor = max(1, round(min(pixels.shape[2:]) / side))
    return torch.cat([halve(part.float().mean(1), factor) for part in pixels.split(1000)])


def halve(images: Tensor, factor: int = 2) -> Tensor:
    """Return (N, h, w) with squares of `factor` pixels averaged."""
    return images if factor == 1 else F.avg_pool2d(images[:, None], factor)[:, 0]


def detail(images: Tensor, fine: int, coarse: int) -> Tensor:
    """Return the mean of `fine` x `fine` pixels less that of `coarse` x `coarse`, both odd, of images (N, h, w).

    Pixels near the edge, which have no surroundings, are cut off: the result is (N, h - coarse + 1, w - coarse + 1).
    """
    trim = (coarse - fine) // 2
    inner = images if fine == 1 else F.avg_pool2d(images[:, None], fine, 1)[:, 0]
    inner = inner[:, trim : inner.shape[1] - trim, trim : inner.shape[2] - trim]
    return inner - F.avg_pool2d(images[:, None], coarse, 1)[:, 0]


def turned(images: Tensor) -> list[Tensor]:
    """Return images (N, h, w) as they are, turned by quarters (halves where they are not square), and mirrored so."""
    turns = range(4) if images.shape[1] == images.shape[2] else (0, 2)
    return [part.rot90(turn, (1, 2)) for part in (images, images.flip(2)) for turn in turns]


def align(first: Tensor, second: Tensor, shifts: Tensor) -> tuple[Tensor, Tensor]:
    """Return, for pairs of details (N, h, w), what is not in common and the best shifts (N, 2).

    Pixel (y, x) of `second` is compared with (y + dy, x + dx) of `first`, for `shifts` (N, 2) and those one pixel
    beside. What is not in common is 1 - correlation over the overlap; 1 where that has less than an eighth of the
    pixels.
    """
    best, best_shifts = torch.full((len(first),), 1.0, device=first.device), shifts.clone()
    for step in _steps():
        moved = shifts + torch.tensor(step, device=shifts.device)
        a, b, size = overlap(first, second, moved)
        unlike = torch.where(size * 8 < a.shape[1], 1.0, 1 - F.cosine_similarity(a, b, dim=1, eps=1e-12))
        is_better = unlike < best
        best, best_shifts = torch.where(is_better, unlike, best), torch.where(is_better[:, None], moved, best_shifts)
    return best, best_shifts


def overlap(first: Tensor, second: Tensor, shifts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the pixels (N, h * w) of both where they overlap and 0 elsewhere, and the number (N,) of these pixels."""
    n, height, width = first.shape
    rows = torch.arange(height, device=first.device) + shifts[:, :1]
    columns = torch.arange(width, device=first.device) + shifts[:, 1:]
    is_inside = ((rows >= 0) & (rows < height))[:, :, None] & ((columns >= 0) & (columns < width))[:, None]
    index = rows.clamp(0, height - 1)[:, :, None] * width + columns.clamp(0, width - 1)[:, None]
    moved = first.flatten(1).gather(1, index.flatten(1)).view(n, height, width)
    size = is_inside.flatten(1).sum(1)
    return torch.where(is_inside, moved, 0.0).flatten(1), torch.where(is_inside, second, 0.0).flatten(1), size


def faint_agreement(first: Tensor, second: Tensor, size: Tensor) -> tuple[Tensor, Tensor]:
    """Return how far the signs of the fainter half of details (N, D) agree, from -1 to 1, and the share of details.

    Strong details are edges and shapes, which images of a kind may share; faint ones are grain and texture, which only
    copies do. The share is that of the pixels, of an overlap of `size`, that have any detail in both images.
    """
    strength = second.abs()
    alive = (strength > _FAINTEST * strength.amax(1, keepdim=True)) & (
        first.abs() > _FAINTEST * first.abs().amax(1, keepdim=True)
    )
    median = torch.where(alive, strength, torch.nan).nanmedian(1, keepdim=True).values
    faint = alive & (strength <= median)
    agreement = (first.sign() * second.sign() * faint).sum(1) / faint.sum(1).clamp(min=1)
    return agreement, alive.sum(1) / size.clamp(min=1)


def _steps() -> Iterator[tuple[int, int]]:
    yield from ((dy, dx) for dy in (0, -1, 1) for dx in (0, -1, 1))
