"""Batch normalization: its options, and running statistics computed exactly over a training set."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from pipeline import validation


@dataclass(frozen=True)
class BatchNorm:
    """y = gamma (x - mean) / sqrt(var + eps) + beta (Ioffe & Szegedy 2015), and its position in the hidden block.

    `mean` and `var` are those of the batch in training, and fixed running averages in evaluation
    (running = (1 - momentum) running + momentum batch). `position` is "none", "before_activation" or
    "after_activation". Raises `UserError` naming the field.
    """

    position: str
    momentum: float
    eps: float

    def __post_init__(self) -> None:
        validation.one_of("position", self.position, ["none", "before_activation", "after_activation"])
        validation.number("momentum", self.momentum, above=0, at_most=1)
        validation.number("eps", self.eps, above=0)

    def make_1d(self, features: int) -> nn.Module:
        """Build a layer for (N, features), with statistics per feature over N."""
        return nn.BatchNorm1d(features, eps=self.eps, momentum=self.momentum)

    def make_2d(self, channels: int) -> nn.Module:
        """Build a layer for (N, channels, H, W), with statistics per channel over N, H and W."""
        return nn.BatchNorm2d(channels, eps=self.eps, momentum=self.momentum)


def count_batchnorm(network: nn.Module) -> int:
    """Return the number of batchnorm layers."""
    return sum(isinstance(module, _BatchNorm) for module in network.modules())


@contextmanager
def batch_statistics_mode(network: nn.Module) -> Iterator[None]:
    """Normalize by the batch as in training, with every other module (dropout) as in evaluation, without gradients.

    A batch norm that its network keeps in evaluation mode, since it is frozen, stays there. On leaving, the mode of
    every module and every buffer (the running statistics) are restored.
    """
    modes = [(module, module.training) for module in network.modules()]
    buffers = [(buffer, buffer.clone()) for buffer in network.buffers()]
    try:
        network.train()
        for module, _ in modes:
            module.training = module.training and isinstance(module, _BatchNorm)
        with torch.no_grad():
            yield
    finally:
        for module, mode in modes:
            module.training = mode
        with torch.no_grad():
            for buffer, value in buffers:
                buffer.copy_(value)


def recompute_batchnorm_statistics(network: nn.Module, batches: Iterable[Tensor]) -> None:
    """Set the running mean and variance of every batch norm to those of its input over all `batches`, pooled exactly.

    Each batch (N, C, H, W), on the device of `network`, passes with batch norm in training mode and dropout off. With
    n_b values per channel, mean m_b and variance v_b of batch b, and n = sum n_b:

        mean = sum n_b m_b / n        var = (sum (n_b - 1) v_b + sum n_b (m_b - mean)^2) / (n - 1)

    This is the unbiased variance of all values together. (torch's `momentum=None` averages the v_b, which leaves the
    second sum out.) Modes are not changed, and a batch norm that stays in evaluation mode keeps its statistics; a
    network without others is not run.

    Raises `ValueError` when there is no batch. torch raises `ValueError` when a batch has one value per channel.
    """
    with batch_statistics_mode(network):
        norms = [m for m in network.modules() if isinstance(m, _BatchNorm) and m.training]
    norms = [norm for norm in norms if norm.running_mean is not None]
    if not norms:
        return
    pools = [_MomentPool() for _ in norms]
    momenta = [norm.momentum for norm in norms]
    hooks = [norm.register_forward_hook(pool.add) for norm, pool in zip(norms, pools, strict=True)]
    try:
        with batch_statistics_mode(network):
            for norm in norms:
                norm.momentum = 1.0  # the running statistics are then those of the latest batch
            for batch in batches:
                network(batch)
    finally:
        for norm, momentum, hook in zip(norms, momenta, hooks, strict=True):
            norm.momentum = momentum
            hook.remove()
    for norm, pool in zip(norms, pools, strict=True):
        pool.store(norm)


class _MomentPool:
    """Count, mean and sum of squared deviations of a growing set of values per channel (Chan et al. 1979)."""

    def __init__(self) -> None:
        self.count, self.mean, self.deviations = 0, torch.zeros(()).double(), torch.zeros(()).double()

    def add(self, norm: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        """Add the batch that `norm` has just seen; a forward hook."""
        assert isinstance(norm, _BatchNorm)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        n_new = inputs[0].numel() // inputs[0].shape[1]
        mean, variance = norm.running_mean.cpu().double(), norm.running_var.cpu().double()
        total, shift = self.count + n_new, mean - self.mean
        self.deviations = self.deviations + variance * (n_new - 1) + shift.square() * (self.count * n_new / total)
        self.mean = self.mean + shift * (n_new / total)
        self.count = total

    def store(self, norm: _BatchNorm) -> None:
        """Copy the pooled statistics into `norm`; raise `ValueError` when there are none."""
        assert norm.running_mean is not None
        assert norm.running_var is not None
        if not self.count:
            raise ValueError("batch norm statistics need at least one batch that reaches every batch norm layer")
        norm.running_mean.copy_(self.mean)
        norm.running_var.copy_(self.deviations / (self.count - 1))
