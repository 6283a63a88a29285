"""Whether what is computed is what is trained: the leaves of the autograd graph against the registered parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from pipeline.signals.attribute_paths import tensor_paths
from pipeline.signals.schema import SanitySignals

LossFunction = Callable[[Any, Any], Tensor]


def trained_parameter_signals(
    network: nn.Module, loss: LossFunction, inputs: Any, labels: Any, optimizer: Optimizer | None = None
) -> SanitySignals:
    """Return `unregistered_parameters` and `loss_parameters`: leaves that get a gradient and are never updated.

    `unregistered_parameters` describes leaves of the graph of `network(inputs)` that are neither among the parameters
    of `network` and `loss` nor in `optimizer`: by their attribute, such as `blocks[0].weight`, else by their shape.
    Those that only the loss depends on count if it is a module; a function may call a network with an optimizer of its
    own, as the judge of a generator has. `loss_parameters` names trainable parameters of a loss that is a module where
    `optimizer` does not have them. A leaf that is a plain tensor counts only if two passes share it: a pass may make
    some of its own, such as inputs whose gradient it needs. Nothing is changed but buffers, as in any pass in training
    mode.
    """
    in_loss = dict(loss.named_parameters()) if isinstance(loss, nn.Module) else {}
    updated = {id(p) for group in optimizer.param_groups for p in group["params"]} if optimizer else set()
    registered = {id(p) for p in network.parameters()} | {id(p) for p in in_loss.values()} | updated
    given = {id(tensor) for tensor in _tensors_in((inputs, labels))}
    leaves, of_outputs = _leaves(network, loss, inputs, labels)
    candidates = leaves if isinstance(loss, nn.Module) else of_outputs
    strangers = [leaf for leaf in candidates if id(leaf) not in registered | given]
    second_pass, _ = _leaves(network, loss, inputs, labels) if strangers else ([], [])  # kept, so that ids stay unique
    again = {id(leaf) for leaf in second_pass}
    strangers = [leaf for leaf in strangers if isinstance(leaf, nn.Parameter) or id(leaf) in again]
    paths = tensor_paths(loss, "loss") | tensor_paths(network) if strangers else {}
    descriptions = [_describe(leaf, paths, is_kept=id(leaf) in again) for leaf in strangers]
    reached = {id(leaf) for leaf in leaves} - updated
    return {
        "unregistered_parameters": sorted(descriptions),
        "loss_parameters": [f"loss.{name}" for name, p in in_loss.items() if id(p) in reached],
    }


def _leaves(network: nn.Module, loss: LossFunction, inputs: Any, labels: Any) -> tuple[list[Tensor], list[Tensor]]:
    """Return the leaves that a backward pass of the loss would give a gradient, and those that the outputs have."""
    with torch.enable_grad():
        outputs = network(inputs)
        leaves = graph_leaves(loss(outputs, labels))
    reached = {id(leaf) for leaf in leaves}
    return leaves, [leaf for leaf in graph_leaves(outputs) if id(leaf) in reached]


def graph_leaves(value: Tensor) -> list[Tensor]:
    """Return the leaves to which a backward pass of `value` would give a gradient."""
    nodes: list[Any] = [value.grad_fn] if value.grad_fn is not None else []
    seen, leaves = set(nodes), []
    while nodes:
        node = nodes.pop()
        if hasattr(node, "variable"):  # an AccumulateGrad node, which stands for a leaf
            leaves.append(node.variable)
        following = {next_node for next_node, _ in node.next_functions if next_node is not None} - seen
        seen |= following
        nodes += following
    return leaves


def _tensors_in(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        yield from _tensors_in(list(value.values()))
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from _tensors_in(part)


def _describe(leaf: Tensor, paths: dict[int, str], *, is_kept: bool) -> str:
    if id(leaf) in paths:
        return paths[id(leaf)]
    return f"a parameter of shape {tuple(leaf.shape)}" + ("" if is_kept else ", made anew in each pass")
