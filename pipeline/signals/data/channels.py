"""Whether the channels of a split are those of the training images, in another order (RGB saved as BGR).

Each image is described by some numbers of each channel and of each pair of channels, which change places with the
channels. Compared are the means of these numbers, class by class, so that classes in other proportions do not matter
and a class of a colour of its own counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations, permutations

import torch
from torch import Tensor

from pipeline.signals.data.subsample import subsample_indices
from pipeline.signals.schema import ChannelOrder

_MAX_EXAMPLES = 1000  # images of a split; the colours of 40 photographs are enough to see a swap
_MAX_VALUES = 1 << 21  # values of these images
_MAX_CHANNELS = 4  # 24 orders
_LEAST_VARIANCE = 1e-4  # of the largest variance along an axis: grey images in three channels have axes without any


def channel_orders(
    train: Tensor, labels: Tensor, others: Mapping[str, tuple[Tensor, Tensor]], n_classes: int
) -> dict[str, ChannelOrder]:
    """Return, for every split of `others`, how well its channels fit those of `train` as they are and reordered.

    `train` (N, C, H, W) are stored pixels with `labels` (N,); `others` are (pixels, labels) by name. The result is
    empty unless there are 2 to 4 channels and enough training images to know how the numbers vary.
    """
    if not 2 <= train.shape[1] <= _MAX_CHANNELS:
        return {}
    pixels, labels = _sample(train, labels)
    unit = pixels.std(correction=0)
    if not unit > 0:  # images without any content
        return {}
    described = _describe(pixels / unit)
    result = {}
    for name, (other, other_labels) in others.items():
        if not len(other):
            continue
        other, other_labels = _sample(other, other_labels)
        fit = _fit_orders(described, labels, _describe(other / unit), other_labels, n_classes, train.shape[1])
        if fit is not None:
            result[name] = fit
    return result


def _fit_orders(
    train: Tensor, labels: Tensor, other: Tensor, other_labels: Tensor, n_classes: int, channels: int
) -> ChannelOrder | None:
    """Compare the class means of descriptions (N, D) and (M, D) for every order, for all or a share of `other`.

    The distance is sum_c (1/n_c + 1/m_c)^-1 d_c' S^-1 d_c, where d_c is the difference of the means of class c and S
    the covariance within the classes. If the order is right, it is about chi-squared with D numbers for each class.
    """
    groups = [c for c in range(n_classes) if bool((labels == c).sum() > 1) and bool((other_labels == c).any())]
    rest = len(labels) - n_classes
    if not groups or rest < 4 * train.shape[1]:
        return None
    means = torch.stack([train[labels == c].mean(0) for c in groups])
    difference = torch.stack([other[other_labels == c].mean(0) for c in groups]) - means
    counts = [(int((labels == c).sum()), int((other_labels == c).sum())) for c in groups]
    weights = torch.tensor([n * m / (n + m) for n, m in counts], dtype=torch.float64, device=train.device).sqrt()
    within = torch.cat([train[labels == c] - mean for c, mean in zip(groups, means, strict=True)])
    orders = []
    for order in permutations(range(channels)):
        columns = _columns(order, train.shape[1])
        covariance = (within.T @ within + within[:, columns].T @ within[:, columns]) / (2 * rest)
        whiten = _inverse_root(covariance) * ((rest - train.shape[1] - 1) / rest) ** 0.5  # Hartlap et al. 2007
        seen = weights[:, None] * difference @ whiten
        change = weights[:, None] * (means[:, columns] - means) @ whiten
        length = float(change.square().sum())
        share = min(max(float((seen * change).sum()) / length, 0.0), 1.0) if length > 0 else 0.0
        orders.append((float((seen - share * change).square().sum()), order, share, float(seen.square().sum())))
    distance, order, share, unchanged = min(orders[1:])
    return {
        "examples": len(other),
        "order": list(order),
        "share": share,
        "unchanged_distance": unchanged,
        "distance": distance,
        "expected_distance": float(len(groups) * train.shape[1]),
    }


def _describe(pixels: Tensor) -> Tensor:
    """Return (N, D): mean, spread and slope from top to bottom of each channel, and |difference| of each pair."""
    half = -(-pixels.shape[2] // 2)
    slope = pixels[:, :, :half].mean((2, 3)) - pixels[:, :, -half:].mean((2, 3))
    pairs = [(pixels[:, a] - pixels[:, b]).abs().mean((1, 2)) for a, b in combinations(range(pixels.shape[1]), 2)]
    return torch.cat([pixels.mean((2, 3)), pixels.std((2, 3), correction=0), slope, torch.stack(pairs, 1)], 1)


def _columns(order: tuple[int, ...], length: int) -> list[int]:
    """Return where each number of `_describe` comes from when channel i is replaced by channel order[i]."""
    n, pairs = len(order), list(combinations(range(len(order)), 2))
    moved = [pairs.index((min(order[a], order[b]), max(order[a], order[b]))) for a, b in pairs]
    columns = [start + i for start in range(0, 3 * n, n) for i in order] + [3 * n + i for i in moved]
    assert len(columns) == length
    return columns


def _inverse_root(covariance: Tensor) -> Tensor:
    """Return W with W W' = S^-1, where axes of hardly any variance count as having `_LEAST_VARIANCE`."""
    variances, axes = torch.linalg.eigh(covariance)
    least = (variances.max() * _LEAST_VARIANCE).clamp(min=torch.finfo(torch.float64).tiny)
    return axes / variances.clamp(min=least).sqrt()


def _sample(pixels: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    limit = min(_MAX_EXAMPLES, max(50, _MAX_VALUES // max(1, pixels[0].numel())))
    index = subsample_indices(len(pixels), limit).to(pixels.device)
    return pixels[index].double(), labels[index]
