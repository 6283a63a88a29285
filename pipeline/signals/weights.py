"""How large weights, their gradients and their updates are, layer by layer, and how much the gradient is noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Weights:
    """The trainable parameters of two or more dimensions: what layers multiply by. Biases and norms are left out, since
    their values are near zero or one by intent and say nothing about a ratio."""

    names: list[str]
    tensors: list[nn.Parameter]

    @classmethod
    def from_network(cls, network: nn.Module) -> Weights:
        named = [(name, p) for name, p in network.named_parameters() if p.ndim >= 2 and p.requires_grad]
        return cls([name for name, _ in named], [p for _, p in named])

    def gradients(self) -> list[Tensor]:
        return [torch.zeros_like(p) if p.grad is None else p.grad.detach() for p in self.tensors]

    def values(self) -> list[Tensor]:
        return [p.detach() for p in self.tensors]


def norms(tensors: Sequence[Tensor]) -> Tensor:
    """L2 norms (len(tensors),), in one call for all of them."""
    return torch.stack(torch._foreach_norm([*tensors])).float() if tensors else torch.zeros(0)


def gradient_noise(first: list[Tensor], second: list[Tensor]) -> Tensor:
    """Variance of a batch's gradient over its squared mean, estimated from the gradients of two successive batches.

    With g = mean + noise, E[g1 . g2] = |mean|^2 and E[(|g1|^2 + |g2|^2) / 2] = |mean|^2 + trace of the noise's
    covariance. Returns (squares - dot) / dot; negative or huge where the dot product is lost in the noise
    (McCandlish et al. 2018, An Empirical Model of Large-Batch Training, appendix A).
    """
    squares = (norms(first).square().sum() + norms(second).square().sum()) / 2
    dot = torch.stack([product.sum() for product in torch._foreach_mul(first, second)]).sum()
    return (squares - dot) / dot


def gradient_columns(network: nn.Module) -> dict[str, list[Any]]:
    """`name`, `rms` of the gradient and `weight_rms` of each weight, after a backward pass."""
    every = Weights.from_network(network)
    # a unit with a single weight has no direction, and batchnorm takes its size: its gradient is zero by nature
    kept = [(name, p) for name, p in zip(every.names, every.tensors, strict=True) if p[0].numel() > 1]
    weights = Weights([name for name, _ in kept], [p for _, p in kept])
    root_counts = torch.tensor([p.numel() ** 0.5 for p in weights.tensors])
    if not weights.names:
        return {"name": [], "rms": [], "weight_rms": []}
    table = torch.stack([norms(weights.gradients()), norms(weights.values())]).cpu() / root_counts
    return {"name": weights.names, "rms": table[0].tolist(), "weight_rms": table[1].tolist()}
