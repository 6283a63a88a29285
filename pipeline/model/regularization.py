"""L2 regularization of the weights alone, its penalty as a number, and a context without dropout."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.dropout import _DropoutNd

from pipeline import validation
from pipeline.model.layer_depth import RATE_FACTOR, layer_depths

_NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)


def decay_groups(network: nn.Module, *, l2: float, layer_decay: float | None = None) -> list[dict[str, Any]]:
    """Return parameter groups for an optimizer: weights with `weight_decay=l2`, then all others with 0.

    Decayed are parameters of two or more dimensions outside norm layers. Biases, the gamma and beta of norms and
    PReLU's slopes are not: shrinking them limits what the network can express without making it simpler. Each parameter
    occurs once; frozen ones, and empty groups, are left out. With `layer_decay` there are two groups for each layer,
    from the last to the first, whose `rate_factor` is layer_decay ** (layers after it). Raises `UserError` for a
    negative or non-finite `l2`.
    """
    l2 = validation.number("l2", l2, at_least=0)
    decayed, others = _split_parameters(network)
    groups: list[dict[str, Any]]
    groups = [{"params": decayed, "weight_decay": l2}, {"params": others, "weight_decay": 0.0}]
    if layer_decay is not None:
        groups = _split_by_layer(network, groups, layer_decay)
    return [group for group in groups if group["params"]]


def _split_by_layer(network: nn.Module, groups: list[dict[str, Any]], layer_decay: float) -> list[dict[str, Any]]:
    depths = layer_depths(network)
    last = max(depths.values())
    return [
        group
        | {"params": [p for p in group["params"] if depths[p] == depth], RATE_FACTOR: layer_decay ** (last - depth)}
        for depth in range(last, -1, -1)
        for group in groups
    ]


def penalty(network: nn.Module, l2: float) -> Tensor:
    """Return (l2 / 2) sum w^2 over the weights that `decay_groups` decays: a differentiable scalar on their device.

    Its gradient is l2 w, which is what `weight_decay=l2` adds in every optimizer but AdamW.
    """
    decayed, others = _split_parameters(network)
    if not decayed:
        return torch.zeros((), device=others[0].device if others else None)
    return 0.5 * l2 * torch.stack(torch._foreach_norm([*decayed])).square().sum()


@contextmanager
def without_dropout(network: nn.Module) -> Iterator[None]:
    """Set the probability of every dropout module to 0 inside the context, and restore it on leaving."""
    dropouts = [(m, m.p) for m in network.modules() if isinstance(m, _DropoutNd)]
    try:
        for module, _ in dropouts:
            module.p = 0.0
        yield
    finally:
        for module, p in dropouts:
            module.p = p


def _split_parameters(network: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Return the trainable parameters that L2 decays, and the other trainable ones."""
    decayed: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    seen: set[nn.Parameter] = set()
    for module in network.modules():
        for parameter in module.parameters(recurse=False):
            if parameter in seen or not parameter.requires_grad:
                continue
            seen.add(parameter)
            is_weight = parameter.ndim >= 2 and not isinstance(module, _NORMS)
            (decayed if is_weight else others).append(parameter)
    return decayed, others
