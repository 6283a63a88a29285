"""Images of one split that are, but for a shift, a mirror, a scale, a file format or brightness, also in another.

A sample of images is compared with the training images. Candidates are found by the middle of small images, laid over
every place of the other image within a quarter of its side; the best are compared pixel by pixel.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import product

import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.signals.data.alignment import align, detail, faint_agreement, halve, overlap, shrink, turned
from pipeline.signals.data.subsample import reduce_images, subsample_indices
from pipeline.signals.schema import NearCopies

_SIDE = 32  # pixels along the shorter side of the images that are compared; half of it while candidates are sought
_MIN_SIDE = 12  # pixels; smaller images, such as 8x8 digits, have too few to tell a copy from an image of its kind
_MIN_HALVED = 20  # pixels; smaller images are not halved while candidates are sought
_MAX_TRAIN, _MIN_TRAIN = 20_000, 200
_MAX_TRAIN_VALUES = 1 << 27  # values of the training images that are looked at
_MAX_QUERIES = 100  # images of each other split
_COMPONENTS = 24  # principal components of the middle of an image
_CANDIDATES = 4  # images of each rank that are compared pixel by pixel
_HALF_STEPS = ((0, 1), (1, 0), (1, 1))  # pixels; averaged over two, a shift by one gives other values
_CLOSE = 0.25  # of what is usually not in common; images that have more than that are not listed
_SPAN = 4  # that rank times this one is the other rank from which the growth with the rank is known
_USUAL_SHARE = 0.05  # rank, as a share of the training images, at which images count as independent of the query


def near_copies(
    train: Tensor, others: Mapping[str, Tensor], left_out: Mapping[str, Tensor] | None = None
) -> dict[str, NearCopies]:
    """Return what a sample of every split of `others` has in common with the most similar of the `train` images.

    All are stored pixels (N, C, H, W). The bools (N,) of `left_out` tell by split which images are not looked at: those
    that equal a training image to the byte are counted elsewhere. The result is empty for rows of a table, small
    images, and few training images.
    """
    if min(train.shape[2:]) < _MIN_SIDE or len(train) < _MIN_TRAIN:
        return {}
    limit = min(_MAX_TRAIN, max(_MIN_TRAIN, _MAX_TRAIN_VALUES // train[0].numel()))
    index = subsample_indices(len(train), limit).to(train.device)
    images = reduce_images(train, index, _shrink)
    small = halve(images) if min(images.shape[1:]) >= _MIN_HALVED else images
    result = {}
    for name, pixels in others.items():
        allowed = torch.arange(len(pixels)) if left_out is None else torch.nonzero(~left_out[name]).flatten()
        queries = allowed[subsample_indices(len(allowed), _MAX_QUERIES)].to(pixels.device)
        if len(queries):
            found = _compare(images, small, reduce_images(pixels, queries, _shrink))
            result[name] = _describe(found, queries, index, len(train))
    return result


def _shrink(pixels: Tensor) -> Tensor:
    return shrink(pixels, _SIDE)


def _describe(found: dict[str, Tensor], queries: Tensor, index: Tensor, n_train: int) -> NearCopies:
    close = torch.nonzero(found["unlike"] <= _CLOSE * found["usually_unlike"]).flatten()
    return {
        "examples": len(queries),
        "train_share": len(index) / n_train,
        "usual_rank": int(found["usual_rank"]),
        "decay": float(found["decay"]),
        "unlike": found["unlike"][close].tolist(),
        "usually_unlike": found["usually_unlike"][close].tolist(),
        "faint_agreement": found["faint_agreement"][close].tolist(),
        "detailed": found["detailed"][close].tolist(),
        "pairs": torch.stack([queries, index[found["nearest"]]], 1)[close].tolist(),
    }


def _compare(train: Tensor, small_train: Tensor, queries: Tensor) -> dict[str, Tensor]:
    """Compare small grey images (Q, h, w) with the nearest of (N, h, w) and with those of the usual rank.

    `small_train` is `train` at the size at which candidates are sought.
    """
    half = train.shape[1] // small_train.shape[1]
    rank = max(2 * _CANDIDATES, round(_USUAL_SHARE * len(train)))
    small, full = _views(queries, half), turned(queries)
    found = [
        _candidates(small_train, views, [start + i for start in starts for i in range(_CANDIDATES)])
        for views, starts in ((small, (0,)), (small[: len(full)], (rank, _SPAN * rank)))
    ]
    nearest, moves = (torch.cat(parts, 1) for parts in zip(*found, strict=True))
    row = torch.arange(len(queries), device=train.device)
    views = torch.stack([detail(view, 1, 5) for view in small], 1)
    views = views[row.repeat_interleave(nearest.shape[1]), moves[:, :, 0].flatten()]
    unlike, shifts = align(views, detail(small_train[nearest.flatten()], 1, 5), moves[:, :, 1:].flatten(0, 1))
    unlike, shifts = unlike.view(len(queries), 3, _CANDIDATES), shifts.view(*nearest.shape, 2)
    best = unlike[:, 0].argmin(1)
    _, usual, far = unlike.amin(2).clamp(min=1e-6).unbind(1)
    offsets = torch.tensor([*len(full) * [(0, 0)], *_HALF_STEPS], device=train.device)
    view = moves[row, best, 0]
    images = torch.stack([*full, *len(_HALF_STEPS) * [queries]], 1)[row, view]
    partners = train[nearest[row, best]]
    values, shifts = align(detail(images, 3, 7), detail(partners, 3, 7), half * shifts[row, best] + offsets[view])
    agreement, detailed = faint_agreement(*overlap(detail(images, 1, 3), detail(partners, 1, 3), shifts))
    growth = far.log() - usual.log()
    return {
        "nearest": nearest[row, best],
        "unlike": values,
        "usually_unlike": usual,
        "usual_rank": torch.tensor(rank),
        "decay": growth.mean() / math.log(_SPAN),
        "faint_agreement": agreement,
        "detailed": detailed,
    }


def _views(images: Tensor, half: int) -> list[Tensor]:
    """Return images (N, h, w) at the size at which candidates are sought: turned, and if that is half shifted first."""
    views = turned(halve(images, half))
    if half > 1:
        shifted = [F.pad(images, (0, dx, 0, dy), mode="replicate")[:, dy:, dx:] for dy, dx in _HALF_STEPS]
        views += [halve(image, half) for image in shifted]
    return views


def _candidates(train: Tensor, views: list[Tensor], ranks: list[int]) -> tuple[Tensor, Tensor]:
    """Return those of (N, h, w) that have `ranks`, by similarity to each query, and the moves (Q, ranks, 3).

    `views` are those of the queries, each (Q, h, w). A move is a view and a shift (dy, dx) within a quarter of the
    side, or of one pixel. Compared are the middle of the training image and that part of the query, both with mean 0
    and norm 1 in their principal components.
    """
    height, width = train.shape[1:]
    top, left = height // 4, width // 4
    size = height - 2 * top, width - 2 * left
    step = 2 if min(top, left) >= 3 else 1
    shifts = [*product({0, *range(-top, top + 1, step)}, {0, *range(-left, left + 1, step)})]
    n_turned = len(turned(views[0]))
    moves = [(0, dy, dx) for dy, dx in shifts] + [(turn, 0, 0) for turn in range(1, n_turned)]
    moves += [(view, dy, dx) for view in range(n_turned, len(views)) for dy, dx in product((-1, 0), repeat=2)]

    def middle(images: Tensor, dy: int = 0, dx: int = 0) -> Tensor:
        part = images[:, top + dy : top + dy + size[0], left + dx : left + dx + size[1]].flatten(1)
        return F.normalize(part - part.mean(1, keepdim=True), dim=1)

    references, parts = middle(train), torch.stack([middle(views[turn], dy, dx) for turn, dy, dx in moves], 1)
    variances, axes = torch.linalg.eigh(references.T @ references / len(references))
    project = axes[:, -_COMPONENTS:] / variances[-_COMPONENTS:].clamp(min=1e-8).pow(0.25)
    references, parts = F.normalize(references @ project, dim=1), F.normalize(parts @ project, dim=2)
    best = torch.cat([(part @ references.T).amax(1) for part in parts.split(8)])
    nearest = best.topk(max(ranks) + 1, dim=1).indices[:, ranks]
    variants = (references[nearest] @ parts.transpose(1, 2)).argmax(2)
    return nearest, torch.tensor(moves, device=train.device)[variants]
