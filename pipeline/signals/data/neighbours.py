"""Do labels go with pixels? Each example's label against those of its nearest training examples (Euclidean).

Neighbours are crude, but they see the stored images alone: no network, no preprocessing, no training. By Cover and Hart
(1967) the nearest one's label is wrong at most twice as often as the best possible answer, given enough examples.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.signals.data.subsample import subsample_indices

_REFERENCES, _ASKED = 2000, 500  # training examples that are searched; validation and test examples that ask
_FEATURES = 256  # images are averaged over 2x2 pixels until they have no more: cheaper, and shifts matter less
_COLUMNS = 4096  # features of a table, which cannot be averaged
_NEAREST = 20
_MATRIX = 100  # classes up to which the matrix is given


def label_agreement(
    train: Tensor, labels: Tensor, others: Mapping[str, tuple[Tensor, Tensor]], classes: int
) -> dict[str, dict[str, Any]]:
    """For `train` (each example against the others) and every other split the numbers that `_agreement` describes."""
    chosen = subsample_indices(len(train), _REFERENCES).to(train.device)
    if len(chosen) < 2:
        return {}
    references, known = _features(train[chosen]), labels[chosen]
    centre = references.mean(0)
    scale = references.std(0, correction=0) if train.shape[2] * train.shape[3] == 1 else torch.ones_like(centre)
    scale = torch.where(scale > 0, scale, 1.0)  # columns of a table have units of their own, pixels share one
    references = (references - centre) / scale
    nearest = min(_NEAREST, max(1, len(chosen) // (2 * classes)), len(chosen) - 1)
    shares = torch.bincount(known, minlength=classes).double() / len(known)
    found = {"train": _agreement(_nearest(references, references, nearest, same=True), known, known, shares)}
    for name, (pixels, own) in others.items():
        asked = subsample_indices(len(pixels), _ASKED).to(pixels.device)
        points = (_features(pixels[asked]) - centre) / scale
        found[name] = _agreement(_nearest(references, points, nearest, same=False), known, own[asked], shares)
    return found


def _agreement(nearest: Tensor, known: Tensor, own: Tensor, shares: Tensor) -> dict[str, Any]:
    """`nearest` (N, k): places of the k nearest references, nearest first; `known` and `own` labels; class shares.

    An example is clear where at least half of its k neighbours have one label, and pure where it is among the clearest
    quarter. `evenness` is that of the other labels around clear examples, by Pielou: their entropy / ln(classes - 1),
    averaged over the majority's classes; classes that look alike give few others, random labels give all alike.
    """
    (n, k), classes = nearest.shape, len(shares)
    votes = torch.zeros((n, classes), device=own.device)
    votes.scatter_add_(1, known[nearest], torch.ones_like(nearest, dtype=votes.dtype))
    top, said = votes.max(1)
    clear = 2 * top >= k
    pure = top >= top.sort(descending=True).values[(n - 1) // 4]
    rest = votes.scatter(1, said[:, None], 0.0)[clear].double()
    groups, group = said[clear].unique(return_inverse=True)  # not all classes: a square of thousands would not fit
    rest = rest.new_zeros((len(groups), classes)).index_add_(0, group, rest)
    chance = torch.bincount(own, minlength=classes).double() / n
    result = {
        "examples": n,
        "nearest": k,
        "agreement": float((known[nearest[:, 0]] == own).double().mean()),
        "vote_agreement": float((known[nearest] == own[:, None]).double().mean()),
        "chance": float((chance * shares).sum()),
        "clear": float(clear.double().mean()),
        "pure_disagreement": float((said != own)[pure].double().mean()),
        "evenness": _evenness(rest),
    }
    if classes > _MATRIX:
        return result
    matrix = torch.bincount(said[clear] * classes + own[clear], minlength=classes**2)
    return result | {"clear_labels": matrix.view(classes, classes).tolist()}


def _evenness(rest: Tensor) -> float | None:
    """(G, C) votes for others, by majority -> 0 (all for one other class) .. 1 (alike for all); None for 2 classes."""
    totals, others = rest.sum(1), rest.shape[1] - 1
    if others < 2 or not totals.sum() > 0:
        return None
    entropies = torch.special.entr(rest / totals.clamp(min=1)[:, None]).sum(1) / math.log(others)
    return float((entropies * totals).sum() / totals.sum())


def _nearest(references: Tensor, points: Tensor, k: int, *, same: bool) -> Tensor:
    """(R, D), (N, D) -> (N, k) places, nearest first: |x - r|^2 without |x|^2. With `same`, no point is its own."""
    distances = torch.addmm(references.square().sum(1), points, references.T, alpha=-2)
    if same:
        distances.fill_diagonal_(math.inf)
    return distances.topk(k, dim=1, largest=False).indices


def _features(pixels: Tensor) -> Tensor:
    """Stored pixels (N, C, H, W) -> float32 (N, D), large images averaged down."""
    values = pixels.float()
    while values[0].numel() > _FEATURES and min(values.shape[2:]) > 1:
        values = F.avg_pool2d(values, 2)
    return values.flatten(1)[:, :_COLUMNS]
