"""Whether an augmentation leaves an image in its class: varied images beside those they look like."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from pipeline.signals.data.recognition import NEAREST, class_distances, distances, nearest_classes
from pipeline.signals.data.subsample import subsample_indices
from pipeline.signals.schema import Augmented

_EXAMPLES = 400  # sampled training images
_DRAWS = 4  # epochs whose variations are tried until an image is changed: 15 of 16 are mirrored with p = 1/2
_MAX_MATRIX_CLASSES = 100  # classes up to which the matrices are given
_MIN_GAP = 1.2  # distance to another class / within that class, from which there is a gap between them

Matrix = list[list[float | None]]


@torch.no_grad()
def augmentation_signals(
    train: Tensor, labels: Tensor, vary: Callable[[Tensor, int], Tensor], n_classes: int
) -> Augmented | None:
    """Return which classes varied images look like, beside the same for the images; None if nothing varies.

    `train` (N, C, H, W) are training images with `labels` (N,), and `vary(images, epoch)` returns images as the
    augmentation makes them in that epoch. A global random state of torch that `vary` uses is put back.

    `agreement` is among both varied and unvaried images of other examples: what a network sees in training and in
    evaluation. `called` is among unvaried images alone. There a class that is mirrored may be less far from a strange
    class than from its own; `gap_closed` tells whether it also lies where the other class does.
    """
    index = subsample_indices(len(train), _EXAMPLES)
    images, classes = train[index.to(train.device)].cpu(), labels[index.to(labels.device)].cpu()
    varied, is_changed = _varied(images, vary)
    chosen = torch.nonzero(is_changed).flatten()
    if len(chosen) < 2:
        return None
    varied, own = varied[chosen], classes[chosen]
    before = distances(images, images).fill_diagonal_(math.inf)
    after = distances(varied, torch.cat([images, varied]))
    after[torch.arange(len(chosen)), chosen] = math.inf
    after[:, len(images) :].fill_diagonal_(math.inf)
    votes = nearest_classes(before, classes, n_classes)
    joint_votes = nearest_classes(after, torch.cat([classes, own]), n_classes)
    counts = torch.bincount(own, minlength=n_classes)
    frequencies = torch.bincount(classes, minlength=n_classes).double() / len(classes)
    result: Augmented = {
        "examples": len(chosen),
        "nearest": min(NEAREST, len(images) - 1),
        "chance": float((frequencies * counts).sum() / len(chosen)),
        "agreement": float(joint_votes.gather(1, own[:, None]).double().mean()),
        "unvaried_agreement": float(votes[chosen].gather(1, own[:, None]).double().mean()),
    }
    if n_classes > _MAX_MATRIX_CLASSES:
        return result
    moved = after[:, : len(images)]
    called = nearest_classes(moved, classes, n_classes).argmax(1)
    return result | {
        "class_examples": counts.tolist(),
        "called": _shares(own, called, n_classes),
        "unvaried_called": _shares(own, votes[chosen].argmax(1), n_classes),
        "gap_closed": _closed_gaps(before, moved, classes, own, n_classes),
    }


def _varied(images: Tensor, vary: Callable[[Tensor, int], Tensor]) -> tuple[Tensor, Tensor]:
    """Return the first variation of each image that differs from it, and for which images there is one."""
    varied, is_changed = images.clone(), torch.zeros(len(images), dtype=torch.bool)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for epoch in range(_DRAWS):
            drawn = vary(images, epoch)
            differs = (drawn != images).flatten(1).any(1) & ~is_changed
            varied[differs] = drawn[differs]
            is_changed |= differs
            if is_changed.all():
                break
    return varied, is_changed


def _closed_gaps(before: Tensor, moved: Tensor, classes: Tensor, own: Tensor, n_classes: int) -> Matrix:
    """Return for each two classes (C, C) how much of the gap between them the variation of the first closes.

    `before` (R, R) are distances between unvaried images of `classes` (R,), and `moved` (N, R) those of varied images
    of classes `own` (N,) to them. With w the median distance of a class to itself, and b and a those of another class
    to it before and after, it is (b - a) / (b - w): 1 where varied images lie among those of the class, 0 where they
    are as far as before. The other way round it is the same for the distances of the class to the varied images, and
    the lower of the two counts: blank images are near a class that has some, and most of that class is far from them.
    None where the two classes overlap, and without examples.
    """
    within_sample = class_distances(before, classes, n_classes)
    there, back = class_distances(moved, classes, n_classes), class_distances(moved.T, own, n_classes)
    unvaried = _medians(within_sample, classes)  # of each class (row) to each class (column)
    within = unvaried.diagonal()
    forth = _closed(unvaried, _medians(there, own), within)
    back_again = _closed(unvaried, _medians(back, classes), within[:, None]).T
    return [[_finite(value) for value in row] for row in torch.minimum(forth, back_again).tolist()]


def _medians(distance: Tensor, classes: Tensor) -> Tensor:
    """Return the medians (C, C) of the rows of `distance` (N, C) of each class; NaN without rows."""
    rows = [distance[classes == c] for c in range(distance.shape[1])]
    nothing = distance.new_full((distance.shape[1],), math.nan)
    return torch.stack([row.median(0).values if len(row) else nothing for row in rows])


def _closed(between: Tensor, moved: Tensor, within: Tensor) -> Tensor:
    return torch.where(between > _MIN_GAP * within, (between - moved) / (between - within), math.nan)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _shares(own: Tensor, called: Tensor, n_classes: int) -> Matrix:
    """Return for each class of images the shares (C, C) that are called each class; None without examples."""
    counts = torch.bincount(own * n_classes + called, minlength=n_classes**2).view(n_classes, n_classes)
    totals = counts.sum(1, keepdim=True)
    return [[_finite(share) for share in row] for row in (counts / totals).tolist()]
