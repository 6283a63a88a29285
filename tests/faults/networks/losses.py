"""Users' own loss functions of (logits (N, K), labels (N,)): the sound ones first, then those with a mistake."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def own_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(logits, labels)


def likelihood(logits: Tensor, labels: Tensor) -> Tensor:
    """For log-probabilities."""
    return F.nll_loss(logits, labels)


def focal(logits: Tensor, labels: Tensor) -> Tensor:
    """(1 - p)^2 times the cross-entropy (Lin et al. 2017)."""
    entropy = F.cross_entropy(logits, labels, reduction="none")
    return ((1 - torch.exp(-entropy)).square() * entropy).mean()


def own_hinge(logits: Tensor, labels: Tensor) -> Tensor:
    return F.multi_margin_loss(logits, labels)


def one_against_rest(logits: Tensor, labels: Tensor) -> Tensor:
    """Binary cross-entropy of each class, summed over classes: sound, with logits."""
    targets = F.one_hot(labels, logits.shape[1]).float()
    return F.binary_cross_entropy_with_logits(logits, targets, reduction="none").sum(1).mean()


def summed(logits: Tensor, labels: Tensor) -> Tensor:
    """The sum over the batch, with a rate meant for the mean."""
    return F.cross_entropy(logits, labels, reduction="sum")


def summed_by_hand(logits: Tensor, labels: Tensor) -> Tensor:
    return -F.log_softmax(logits, 1)[torch.arange(len(labels)), labels].sum()


def negated(logits: Tensor, labels: Tensor) -> Tensor:
    """The likelihood is made small instead of large."""
    return -F.cross_entropy(logits, labels)


def likelihood_of_logits(logits: Tensor, labels: Tensor) -> Tensor:
    """The log-softmax is forgotten: -z_y has no bottom."""
    return F.nll_loss(logits, labels)


def logarithm_of_logits(logits: Tensor, labels: Tensor) -> Tensor:
    """A loss for probabilities, given logits: clipped to (0, 1) as Keras does."""
    return F.nll_loss(logits.clamp(1e-7, 1 - 1e-7).log(), labels)


def softmax_inside(logits: Tensor, labels: Tensor) -> Tensor:
    """Softmax, then a cross-entropy that takes another one."""
    return F.cross_entropy(logits.softmax(1), labels)


def softmax_over_batch_inside(logits: Tensor, labels: Tensor) -> Tensor:
    return F.nll_loss(F.log_softmax(logits, 0), labels)


def squared_error_of_probabilities(logits: Tensor, labels: Tensor) -> Tensor:
    return F.mse_loss(logits.softmax(1), F.one_hot(labels, logits.shape[1]).float())


def squared_error_of_numbers(logits: Tensor, labels: Tensor) -> Tensor:
    """The index of the largest output compared with the label's number."""
    return F.mse_loss(logits.argmax(1).float() + 0 * logits.sum(), labels.float())


def pairs_mixed_up(logits: Tensor, labels: Tensor) -> Tensor:
    """The labels were shuffled and the images were not."""
    return F.cross_entropy(logits, labels[torch.randperm(len(labels))])


def thousandth(logits: Tensor, labels: Tensor) -> Tensor:
    """Divided by the number of examples twice over, or nearly."""
    return F.cross_entropy(logits, labels) / 1000


def one_class_only(logits: Tensor, labels: Tensor) -> Tensor:
    """A weight of zero for every class but the first: a mask applied the wrong way."""
    weight = torch.full((logits.shape[1],), 1e-6)
    weight[0] = 1.0
    return F.cross_entropy(logits, labels, weight=weight, reduction="none").mean()
