"""Losses of (logits (N, K), labels (N,)) that lose what belongs together, and sound ones that look like it."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def class_weighted(logits: Tensor, labels: Tensor) -> Tensor:
    """A weight for each class; torch divides by the sum of the batch's weights, not by its size."""
    weight = torch.linspace(0.5, 2.0, logits.shape[1], device=logits.device)
    return F.cross_entropy(logits, labels, weight=weight)


def balanced_in_batch(logits: Tensor, labels: Tensor) -> Tensor:
    """Each class counts the same in each batch: weights depend on the other labels, on purpose."""
    counts = torch.bincount(labels, minlength=logits.shape[1]).clamp(min=1)
    weights = 1 / counts[labels]
    return (weights * F.cross_entropy(logits, labels, reduction="none")).sum() / weights.sum()


def smoothed_focal(logits: Tensor, labels: Tensor) -> Tensor:
    """Focal loss with exponent 1 and smoothed labels."""
    entropy = F.cross_entropy(logits, labels, reduction="none", label_smoothing=0.05)
    right = logits.softmax(1).gather(1, labels[:, None]).squeeze(1)
    return ((1 - right) * entropy).mean()


def squared_margin(logits: Tensor, labels: Tensor) -> Tensor:
    """A squared hinge of two classes on the difference of the logits, written with one column and both of them."""
    margin = (2 * labels.float() - 1)[:, None] * (logits[:, 1:] - logits[:, :1])
    return F.relu(1 - margin).square().mean()


def hard_examples(logits: Tensor, labels: Tensor) -> Tensor:
    """The mean over the harder half of the batch (online hard example mining; Shrivastava et al. 2016)."""
    entropy = F.cross_entropy(logits, labels, reduction="none")
    return entropy.topk(max(1, len(entropy) // 2)).values.mean()


def entropy_by_hand(logits: Tensor, labels: Tensor) -> Tensor:
    """Binary cross-entropy on the difference of two logits: the twin of the slips below."""
    return F.binary_cross_entropy_with_logits(logits[:, 1] - logits[:, 0], labels.float())


def entropy_broadcast(logits: Tensor, labels: Tensor) -> Tensor:
    """Written out with p (N, 1) and labels (N,): every prediction meets every label."""
    p, y = torch.sigmoid(logits[:, 1:] - logits[:, :1]), labels.float()
    return -(y * torch.log(p + 1e-7) + (1 - y) * torch.log(1 - p + 1e-7)).mean()


def softplus_broadcast(logits: Tensor, labels: Tensor) -> Tensor:
    """The logistic loss with signs (N,) against margins (N, 1)."""
    sign = 2 * labels.float() - 1
    return F.softplus(-sign * (logits[:, 1:] - logits[:, :1])).mean()


def one_hot_broadcast(logits: Tensor, labels: Tensor) -> Tensor:
    """An axis too many: probabilities (N, 1, K) against one-hot labels (N, K)."""
    return 10 * (logits.softmax(1).unsqueeze(1) - F.one_hot(labels, logits.shape[1])).square().mean()


def mean_against_mean(logits: Tensor, labels: Tensor) -> Tensor:
    """The mean prediction of the batch is compared with the mean of its labels."""
    predicted = logits.softmax(1).mean(0)
    return -(F.one_hot(labels, logits.shape[1]).float().mean(0) * torch.log(predicted)).sum()


def rolled_labels(logits: Tensor, labels: Tensor) -> Tensor:
    """Each prediction is paired with the label of the example before."""
    return F.cross_entropy(logits, labels.roll(1))


def sorted_labels(logits: Tensor, labels: Tensor) -> Tensor:
    """The labels were sorted and the images were not."""
    return F.cross_entropy(logits, labels.sort().values)


def focal_over_batch(logits: Tensor, labels: Tensor) -> Tensor:
    """A focal loss whose softmax runs over the examples."""
    right = logits.softmax(0).gather(1, labels[:, None]).squeeze(1)
    return -((1 - right) * torch.log(right + 1e-9)).mean()


def labels_from_one(logits: Tensor, labels: Tensor) -> Tensor:
    """One is subtracted from labels that begin at zero already."""
    return F.cross_entropy(logits, (labels - 1) % logits.shape[1])


def weights_broadcast(logits: Tensor, labels: Tensor) -> Tensor:
    """Weights (N, 1) times losses (N,): an (N, N) table in which no weight meets its own example alone."""
    weight = torch.linspace(0.2, 3.0, logits.shape[1])[labels][:, None]
    return (weight * F.cross_entropy(logits, labels, reduction="none")).mean()
