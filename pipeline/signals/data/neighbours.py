"""Whether labels belong to pixels: the label of each example against those of its nearest training examples.

Distances are Euclidean, between stored images: no network, no preprocessing and no training is involved. By Cover and
Hart (1967) the label of the nearest example is wrong at most twice as often as the best possible prediction, given
enough examples.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.signals.data.subsample import reduce_images, subsample_indices
from pipeline.signals.schema import Neighbours

_MAX_REFERENCES, _MAX_QUERIES = 2000, 500  # sampled training examples; sampled examples of each other split
_MAX_FEATURES = 256  # images are averaged over 2x2 pixels down to so many: cheaper, and shifts matter less
_MAX_COLUMNS = 4096  # features of a table, which cannot be averaged
_MAX_NEAREST = 20
_MAX_MATRIX_CLASSES = 100  # classes up to which the matrix is given


def label_agreement(
    train: Tensor, labels: Tensor, others: Mapping[str, tuple[Tensor, Tensor]], n_classes: int
) -> dict[str, Neighbours]:
    """Return the numbers of `_agreement` for `train` and for every split of `others`.

    `train` (N, C, H, W) are stored pixels with `labels` (N,); `others` are (pixels, labels) by name. No training
    example is its own neighbour. The result is empty for fewer than two training examples.
    """
    index = subsample_indices(len(train), _MAX_REFERENCES).to(train.device)
    if len(index) < 2:
        return {}
    references, reference_labels = reduce_images(train, index, _features), labels[index]
    mean = references.mean(0)
    std = references.std(0, correction=0) if train.shape[2] * train.shape[3] == 1 else torch.ones_like(mean)
    std = torch.where(std > 0, std, 1.0)  # columns of a table have different units, pixels share one
    references = (references - mean) / std
    k = min(_MAX_NEAREST, max(1, len(index) // (2 * n_classes)), len(index) - 1)
    frequencies = torch.bincount(reference_labels, minlength=n_classes).double() / len(reference_labels)
    nearest = _nearest(references, references, k, exclude_self=True)
    result = {"train": _agreement(nearest, reference_labels, reference_labels, frequencies)}
    for name, (pixels, split_labels) in others.items():
        index = subsample_indices(len(pixels), _MAX_QUERIES).to(pixels.device)
        nearest = _nearest(references, (reduce_images(pixels, index, _features) - mean) / std, k, exclude_self=False)
        result[name] = _agreement(nearest, reference_labels, split_labels[index], frequencies)
    return result


def _agreement(nearest: Tensor, reference_labels: Tensor, labels: Tensor, frequencies: Tensor) -> Neighbours:
    """Compare the labels (N,) of examples with those of their neighbours.

    `nearest` (N, k) are indices of references, nearest first; `reference_labels` (R,) are their labels and
    `frequencies` (C,) the class frequencies.

    An example is clear if at least half of its k neighbours have one label, and pure if it is among the clearest
    quarter. `evenness` is that of the other labels around clear examples, by Pielou: their entropy / ln(classes - 1),
    averaged over the classes of the majority. Classes that look alike give few other labels, random labels all alike.
    """
    (n, k), n_classes = nearest.shape, len(frequencies)
    votes = torch.zeros((n, n_classes), device=labels.device)
    votes.scatter_add_(1, reference_labels[nearest], torch.ones_like(nearest, dtype=votes.dtype))
    top_votes, majority = votes.max(1)
    clear = 2 * top_votes >= k
    pure = top_votes >= top_votes.sort(descending=True).values[(n - 1) // 4]
    other_votes = votes.scatter(1, majority[:, None], 0.0)[clear].double()
    groups, group = majority[clear].unique(return_inverse=True)  # (C, C) would not fit for thousands of classes
    other_votes = other_votes.new_zeros((len(groups), n_classes)).index_add_(0, group, other_votes)
    own_frequencies = torch.bincount(labels, minlength=n_classes).double() / n
    result: Neighbours = {
        "examples": n,
        "nearest": k,
        "agreement": float((reference_labels[nearest[:, 0]] == labels).double().mean()),
        "vote_agreement": float((reference_labels[nearest] == labels[:, None]).double().mean()),
        "chance": float((own_frequencies * frequencies).sum()),
        "clear": float(clear.double().mean()),
        "pure_disagreement": float((majority != labels)[pure].double().mean()),
        "evenness": _evenness(other_votes),
    }
    if n_classes > _MAX_MATRIX_CLASSES:
        return result
    matrix = torch.bincount(majority[clear] * n_classes + labels[clear], minlength=n_classes**2)
    return result | {"clear_labels": matrix.view(n_classes, n_classes).tolist()}


def _evenness(other_votes: Tensor) -> float | None:
    """Return the evenness of votes (G, C) for other labels, one row per label of the majority.

    It is 0 if all go to one other class and 1 if all other classes get as many; None for two classes.
    """
    totals, n_others = other_votes.sum(1), other_votes.shape[1] - 1
    if n_others < 2 or not totals.sum() > 0:
        return None
    entropies = torch.special.entr(other_votes / totals.clamp(min=1)[:, None]).sum(1) / math.log(n_others)
    return float((entropies * totals).sum() / totals.sum())


def _nearest(references: Tensor, points: Tensor, k: int, *, exclude_self: bool) -> Tensor:
    """Return the indices (N, k) of the nearest of `references` (R, D) to each of `points` (N, D), nearest first.

    Compared is |x - r|^2 without |x|^2. `torch.cdist` would round differently and merge near distances by its square
    root: on digits of two grey levels, which have many ties, half of the examples would get other neighbours.
    """
    distances = torch.addmm(references.square().sum(1), points, references.T, alpha=-2)
    if exclude_self:
        distances.fill_diagonal_(math.inf)
    return distances.topk(k, dim=1, largest=False).indices


def _features(pixels: Tensor) -> Tensor:
    """Flatten stored pixels (N, C, H, W) to float32 (N, D), with large images averaged down."""
    return average_down(pixels).flatten(1)[:, :_MAX_COLUMNS]


def average_down(pixels: Tensor) -> Tensor:
    """Return stored pixels (N, C, H, W) as float32, large images averaged down to at most 256 values each."""
    values = pixels.float()
    while values[0].numel() > _MAX_FEATURES and min(values.shape[2:]) > 1:
        values = F.avg_pool2d(values, 2)
    return values
