"""Losses, sound and broken, on which the measurements of a loss function are tested: (outputs, labels) -> scalar."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LossFunction = Callable[[Tensor, Tensor], Tensor]


def weighted(z: Tensor, y: Tensor) -> Tensor:
    weight = torch.ones(z.shape[1])  # float32, whatever the outputs are
    weight[1] = 50.0
    return F.cross_entropy(z, y, weight=weight)


def one_hot(z: Tensor, y: Tensor) -> Tensor:
    return F.one_hot(y, z.shape[1]).to(z)


def focal(z: Tensor, y: Tensor) -> Tensor:
    single = F.cross_entropy(z, y, reduction="none")
    return ((1 - torch.exp(-single)) ** 2 * single).mean()


def hardest(z: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(z, y, reduction="none").topk(max(1, len(y) // 4)).values.mean()


def mixup(z: Tensor, y: Tensor) -> Tensor:
    share, order = torch.rand(()), torch.randperm(len(y))
    return share * F.cross_entropy(z, y) + (1 - share) * F.cross_entropy(z, y[order])


def mixture(z: Tensor, y: Tensor) -> Tensor:
    return 0.3 * F.cross_entropy(z, y) + 0.7 * F.cross_entropy(z, y.roll(1))


def f1(z: Tensor, y: Tensor) -> Tensor:
    p, target = z.softmax(1), one_hot(z, y)
    return 1 - (2 * (p * target).sum(0) / (p.sum(0) + target.sum(0) + 1e-6)).mean()


def contrastive(z: Tensor, y: Tensor) -> Tensor:
    similarity = 10 * F.normalize(z, dim=1) @ F.normalize(z, dim=1).T
    others = 1 - torch.eye(len(y)).to(z)
    same = torch.eq(y[:, None], y[:, None].T).to(z) * others
    log_share = similarity - (similarity.exp() * others).sum(1, keepdim=True).log()
    return -((same * log_share).sum(1) / same.sum(1).clamp(min=1)).mean()


def triplet(z: Tensor, y: Tensor) -> Tensor:
    distances = torch.cdist(z, z)
    same = y[:, None] == y[None]
    hardest_same = (distances * same).amax(1)
    hardest_other = (distances + 1e6 * same).amin(1)
    return F.relu(hardest_same - hardest_other + 1).mean()


def expected_class(z: Tensor, y: Tensor) -> Tensor:
    return F.mse_loss((z.softmax(1) * torch.arange(z.shape[1])).sum(1), y.to(z))


def log_mean_exp(z: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(z, y, reduction="none").logsumexp(0)


def ranking(z: Tensor, y: Tensor) -> Tensor:
    score = z.squeeze(1)
    return F.softplus(-(score[:, None] - score) * torch.sign(y[:, None] - y)).mean()


def correlation(z: Tensor, y: Tensor) -> Tensor:
    return -torch.corrcoef(torch.stack([z.flatten(), y.to(z)]))[0, 1]


class Normalized(nn.Module):
    """Divides by a running mean of itself, a buffer that each call changes."""

    mean: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.ones(()))

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        value = F.cross_entropy(z, y)
        self.mean.mul_(0.9).add_(0.1 * value.detach())
        return value


CLASSIFICATION: dict[str, LossFunction] = {
    "cross-entropy": F.cross_entropy,
    "class weights": weighted,
    "label smoothing": lambda z, y: F.cross_entropy(z, y, label_smoothing=0.1),
    "sum": lambda z, y: F.cross_entropy(z, y, reduction="sum"),
    "in 32 bits": lambda z, y: F.cross_entropy(z.float(), y),
    "multi-margin": F.multi_margin_loss,
    "focal": focal,
    "hardest examples": hardest,
    "mixup": mixup,
    "cosine": lambda z, y: F.cross_entropy(16 * F.normalize(z, dim=1), y),
    "likelihood": lambda z, y: F.nll_loss(z.log_softmax(1), y),
    "of probabilities": lambda z, y: F.nll_loss(z.log(), y),
    "squared error": lambda z, y: F.mse_loss(z, one_hot(z, y)),
    "one against rest": lambda z, y: F.binary_cross_entropy_with_logits(z, one_hot(z, y)),
    "expected class": expected_class,
    "log-mean-exp": log_mean_exp,
    "root": lambda z, y: F.cross_entropy(z, y).sqrt(),
    "running mean": Normalized(),
    "penalized confidence": lambda z, y: F.cross_entropy(z, y) + 0.1 * (z.softmax(1) * z.log_softmax(1)).sum(1).mean(),
    "contrastive": contrastive,
    "triplet": triplet,
}
"""Sound losses of outputs (N, C) and labels (N,)."""

QUANTITIES: dict[str, tuple[LossFunction, tuple[int, ...], tuple[int, ...]]] = {
    "squared error": (F.mse_loss, (40,), (40,)),
    "squared error of columns": (F.mse_loss, (40, 1), (40, 1)),
    "several columns": (F.mse_loss, (40, 3), (40, 3)),
    "squeezed": (lambda z, y: F.mse_loss(z.squeeze(1), y), (40, 1), (40,)),
    "absolute error": (F.l1_loss, (40,), (40,)),
    "huber in 32 bits": (lambda z, y: F.huber_loss(z.float(), y.float()), (40,), (40,)),
    "root of squared error": (lambda z, y: F.mse_loss(z, y).sqrt(), (40,), (40,)),
    "quantile": (lambda z, y: torch.maximum(0.9 * (y - z), -0.1 * (y - z)).mean(), (40,), (40,)),
    "far from zero": (lambda z, y: F.mse_loss(z, 1e6 + 1e3 * y), (40,), (40,)),
    "ranking": (ranking, (40, 1), (40,)),
    "correlation": (correlation, (40, 1), (40,)),
    "images": (F.mse_loss, (20, 1, 8, 8), (20, 1, 8, 8)),
    "weights of examples": (lambda z, y: (y.abs() * (z.squeeze(1) - y) ** 2).mean(), (40, 1), (40,)),
    "deviation too": (lambda z, y: F.gaussian_nll_loss(z[:, 0], y, z[:, 1].exp()), (40, 2), (40,)),
}
"""Sound losses of quantities: the loss, the shape of the outputs, that of the labels."""


def scaled_by_columns(z: Tensor, y: Tensor) -> Tensor:
    weight = 1.0 + (y == 0).to(z).reshape(-1, 1)
    return (weight * F.cross_entropy(z, y, reduction="none")).mean()


def focal_of_columns(z: Tensor, y: Tensor) -> Tensor:
    probability = z.softmax(1).gather(1, y[:, None])
    return ((1 - probability) ** 2 * F.cross_entropy(z, y, reduction="none")).mean()


OVER_EXAMPLES: dict[str, LossFunction] = {
    "softmax over the batch": lambda z, y: F.nll_loss(F.log_softmax(z, 0), y),
    "the same in 32 bits": lambda z, y: F.nll_loss(F.log_softmax(z.float(), 0), y),
    "then cross-entropy": lambda z, y: F.cross_entropy(z.softmax(0), y),
    "normalized over the batch": lambda z, y: F.cross_entropy(5 * F.normalize(z, dim=0), y),
    "centred over the batch": lambda z, y: F.cross_entropy(z - z.mean(0), y),
    "standardized over the batch": lambda z, y: F.cross_entropy((z - z.mean(0)) / z.std(0), y),
    "softmax over everything": lambda z, y: F.nll_loss(z.flatten().log_softmax(0).view_as(z), y),
    "a view for a transpose": lambda z, y: F.cross_entropy(z.reshape(z.shape[1], -1).T, y),
}
"""Losses that mix the examples."""

SHIFTED: dict[str, tuple[str, LossFunction]] = {
    "labels + 1": ("next class", lambda z, y: F.cross_entropy(z, (y + 1) % z.shape[1])),
    "labels - 1": ("previous class", lambda z, y: F.multi_margin_loss(z, (y - 1) % z.shape[1])),
    "rolled": ("previous example", lambda z, y: F.cross_entropy(z, y.roll(1))),
    "rolled back": ("next example", lambda z, y: F.mse_loss(z.softmax(1), one_hot(z, y.roll(-1)))),
    "shuffled": ("another example", lambda z, y: F.cross_entropy(z, y[torch.randperm(len(y))])),
    "labels as numbers": ("every class", lambda z, y: (z - y[:, None]).square().mean()),
}
"""What the loss rewards, and the loss."""
