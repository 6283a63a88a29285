"""Sizes of weights, gradients and updates, layer by layer, and the noise of the gradient."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Weights:
    """The trainable parameters of two or more dimensions, which layers multiply by.

    Biases and the parameters of norms are left out: their values are near 0 or 1 by design, so a ratio to them means
    nothing.
    """

    names: list[str]
    tensors: list[nn.Parameter]

    @classmethod
    def from_network(cls, network: nn.Module) -> Weights:
        """Return the weights of `network`, in the order of its parameters."""
        named = [(name, p) for name, p in network.named_parameters() if p.ndim >= 2 and p.requires_grad]
        return cls([name for name, _ in named], [p for _, p in named])

    def gradients(self) -> list[Tensor]:
        """Return the gradient of each weight, zeros where it has none; of complex ones as real numbers (..., 2)."""
        return [_as_real(torch.zeros_like(p) if p.grad is None else p.grad.detach()) for p in self.tensors]

    def values(self) -> list[Tensor]:
        """Return each weight, detached; of complex ones as real numbers (..., 2)."""
        return [_as_real(p.detach()) for p in self.tensors]


def _as_real(values: Tensor) -> Tensor:
    return torch.view_as_real(values.resolve_conj()) if values.is_complex() else values


def norms(tensors: Sequence[Tensor]) -> Tensor:
    """Return the L2 norm of each tensor, (len(tensors),) float32, in one call for all of them."""
    return torch.stack(torch._foreach_norm([*tensors])).float() if tensors else torch.zeros(0)


def gradient_noise(first: list[Tensor], second: list[Tensor]) -> Tensor:
    """Return the variance of a batch's gradient over its squared mean, estimated from two successive batches.

    With g = mean + noise, E[g1 . g2] = |mean|^2 and E[(|g1|^2 + |g2|^2) / 2] = |mean|^2 + trace of the noise's
    covariance. The result is (squares - dot) / dot; it is negative or huge when the dot product is lost in the noise
    (McCandlish et al. 2018, An Empirical Model of Large-Batch Training, appendix A).
    """
    squares = (norms(first).square().sum() + norms(second).square().sum()) / 2
    dot = torch.stack([product.sum() for product in torch._foreach_mul(first, second)]).sum()
    return (squares - dot) / dot


def gradient_columns(network: nn.Module) -> dict[str, list[Any]]:
    """Return `name`, `rms` of the gradient and `weight_rms` of each weight, after a backward pass."""
    all_weights = Weights.from_network(network)
    # a unit with a single weight has no direction, and batch norm removes its size: its gradient is zero
    named = [(name, p) for name, p in zip(all_weights.names, all_weights.tensors, strict=True) if p[0].numel() > 1]
    weights = Weights([name for name, _ in named], [p for _, p in named])
    root_counts = torch.tensor([p.numel() ** 0.5 for p in weights.tensors])
    if not weights.names:
        return {"name": [], "rms": [], "weight_rms": []}
    table = torch.stack([norms(weights.gradients()), norms(weights.values())]).cpu() / root_counts
    return {"name": weights.names, "rms": table[0].tolist(), "weight_rms": table[1].tolist()}
