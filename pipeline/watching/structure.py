"""What the graph of one training step shows: which parameters it reaches, and which of them are trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from pipeline.signals.attribute_paths import tensor_paths
from pipeline.signals.optimizer import optimizer_signals
from pipeline.signals.trained_parameters import graph_leaves


def structure_signals(network: nn.Module, optimizers: Sequence[Optimizer], value: Tensor) -> dict[str, Any]:
    """Return `unregistered_parameters` for the leaves of the graph of `value`, and what the optimizers hold."""
    updated = {id(p) for optimizer in optimizers for group in optimizer.param_groups for p in group["params"]}
    known = {id(p) for p in network.parameters()} | updated
    strangers = [leaf for leaf in graph_leaves(value) if id(leaf) not in known and isinstance(leaf, nn.Parameter)]
    paths = tensor_paths(network) if strangers else {}
    names = [paths.get(id(leaf), f"a parameter of shape {tuple(leaf.shape)}") for leaf in strangers]
    signals: dict[str, Any] = {"unregistered_parameters": sorted(names), "loss_parameters": []}
    held = [optimizer_signals(network, optimizer) for optimizer in optimizers]
    if held:  # of several optimizers, each trains its part
        missing = set.intersection(*(set(one["optimizer_missing"]) for one in held))
        signals["optimizer_missing"] = [name for name in held[0]["optimizer_missing"] if name in missing]
        signals["optimizer_foreign"] = sum(one["optimizer_foreign"] for one in held) if len(held) == 1 else 0
    return signals
