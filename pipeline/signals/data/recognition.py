"""How well the class of an image can be told from the other images of a sample, without a network.

N images, R references, D features, C classes. Distances are Euclidean, between images that are averaged down, at the
best of small shifts: an object that moves a little is the same object.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.signals.data.subsample import reduce_images

NEAREST = 5
_MAX_SIDE = 16  # pixels; larger images are averaged down to 9 .. 16: cheaper, and what is left is form and colour
_MAX_COLUMNS = 4096  # features of a table, which cannot be averaged
_SHIFTS = (-2, -1, 0, 1, 2)  # in steps of half an averaged pixel: up to an eighth of the side
_COMPONENTS = 64  # directions of largest variance in which images are compared; what lies outside counts as a whole
_RIDGE = 0.1  # strength of the linear classifier's penalty, in units of the mean squared length of an example


def averaged_down(pixels: Tensor) -> Tensor:
    """Return pixels (N, C, H, W) as float32, averaged over squares until no side is above the limit."""
    return _average(pixels, _averaging_factor(pixels))[:, :_MAX_COLUMNS]


def distances(points: Tensor, references: Tensor) -> Tensor:
    """Return the squared distance of each of `points` (N, C, H, W) to each of `references` (R, C, H, W): (N, R).

    It is the lowest over shifts of the point, whose edge is repeated. The columns of a table are divided by their
    standard deviation among the references, since their units differ, and are not shifted.
    """
    known = averaged_down(references).flatten(1)
    mean, scale = known.mean(0), torch.ones(known.shape[1])
    if _is_table(references):
        std = known.std(0, correction=0)
        scale = torch.where(std > 0, 1 / std, 0.0)
    known = (known - mean) * scale
    axes = _leading_axes(known)
    coordinates = known @ axes
    lengths = known.square().sum(1)
    best = torch.full((len(points), len(references)), math.inf)
    for shifted in _shifted(points):
        moved = (shifted.flatten(1) - mean) * scale
        squares = torch.addmm(lengths, moved @ axes, coordinates.T, alpha=-2) + moved.square().sum(1)[:, None]
        best = torch.minimum(best, squares)
    return best.clamp(min=0)


def nearest_classes(distance: Tensor, labels: Tensor, n_classes: int) -> Tensor:
    """Return the shares (N, C) of the classes among the five references of least `distance` (N, R).

    `labels` (R,) are those of the references. References at an infinite distance are no neighbours; a row without any
    is all 0.
    """
    values, index = distance.topk(min(NEAREST, distance.shape[1]), dim=1, largest=False)
    weight = values.isfinite().float()
    votes = torch.zeros((len(distance), n_classes)).scatter_add_(1, labels[index], weight)
    return votes / weight.sum(1, keepdim=True).clamp(min=1)


def class_distances(distance: Tensor, labels: Tensor, n_classes: int) -> Tensor:
    """Return the least distance (N, C) to a reference of each class; infinite where a class has none."""
    return torch.full((len(distance), n_classes), math.inf).scatter_reduce_(
        1, labels.expand(len(distance), -1), distance, "amin"
    )


def told_by_ridge(features: Tensor, labels: Tensor, n_classes: int) -> Tensor:
    """Return the class (N,) that a linear classifier, trained on all other examples, gives each of them.

    `features` is (N, D). It is ridge regression onto the classes, whose left-out residuals follow from one fit: with
    H = K (K + penalty)^-1 for K = X X^T they are (y - H y)_i / (1 - H_ii).
    """
    centred = features.double() - features.double().mean(0)
    kernel = centred @ centred.T
    bias = kernel.diagonal().mean().clamp(min=1e-9)  # of the length of an example
    penalty = _RIDGE * bias * torch.eye(len(kernel), dtype=torch.float64)
    hat = torch.linalg.solve(kernel + bias + penalty, kernel + bias)
    targets = F.one_hot(labels, n_classes).double()
    residuals = (targets - hat @ targets) / (1 - hat.diagonal()).clamp(min=1e-9)[:, None]
    return (targets - residuals).argmax(1)


def _leading_axes(known: Tensor) -> Tensor:
    """Return the directions of largest variance of centred rows (R, D): (D, at most 64), orthonormal."""
    if known.shape[1] <= _COMPONENTS:
        return torch.eye(known.shape[1])
    return torch.linalg.svd(known, full_matrices=False).Vh[:_COMPONENTS].T


def _shifted(images: Tensor) -> list[Tensor]:
    """Return the images moved by each of the shifts and averaged down."""
    if _is_table(images):
        return [averaged_down(images)]
    factor, reach = _averaging_factor(images), max(_SHIFTS)
    last = min(2, factor)  # pixels that are averaged last, at every offset; a step is one of them
    fine = _average(images, factor // last)
    sliding = F.avg_pool2d(F.pad(fine, (reach, reach, reach, reach), mode="replicate"), last, stride=1)
    height, width = (last * (side // last) for side in fine.shape[2:])
    starts = [reach + shift for shift in _SHIFTS]
    return [sliding[:, :, top : top + height : last, left : left + width : last] for top in starts for left in starts]


def _average(images: Tensor, factor: int) -> Tensor:
    if factor == 1:
        return images.float()
    index = torch.arange(len(images), device=images.device)
    return reduce_images(images, index, lambda part: F.avg_pool2d(part.float(), factor))


def _averaging_factor(images: Tensor) -> int:
    """Return the side of the squares that are averaged: a power of two, and no more than the images have."""
    factor = 1
    while max(images.shape[2:]) > factor * _MAX_SIDE and 2 * factor <= min(images.shape[2:]):
        factor *= 2
    return factor


def _is_table(images: Tensor) -> bool:
    return images.shape[2] * images.shape[3] == 1
