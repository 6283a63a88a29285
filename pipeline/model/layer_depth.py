"""The layers of a network in order of depth, for learning rates that differ from layer to layer."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

RATE_FACTOR = "rate_factor"
"""The key of a parameter group whose rate is the optimizer's times this."""


def layer_depths(network: nn.Module) -> dict[nn.Parameter, int]:
    """Return the number of the layer of each parameter, from 0 at the input.

    Layers are the blocks of a network in the order in which its constructor makes them, which in most networks is that
    of the forward pass: its submodules, and the members of sequences and lists in it. What has no weights of two
    dimensions (norms, scales) belongs to the layer before it. Parameters of the network itself, such as positions of a
    transformer, belong to the first.
    """
    depths: dict[nn.Parameter, int] = {}
    depth = -1
    for block in _blocks(network):
        parameters = list(block.parameters())
        depth += any(p.ndim >= 2 for p in parameters) or depth < 0
        for parameter in parameters:
            depths.setdefault(parameter, depth)
    for parameter in network.parameters():
        depths.setdefault(parameter, 0)
    return depths


def _blocks(module: nn.Module) -> Iterator[nn.Module]:
    """Yield the blocks that `module` is made of: it goes into sequences, lists, and a lone child."""
    children = [child for child in module.children() if any(True for _ in child.parameters())]
    own = any(True for _ in module.parameters(recurse=False))
    for child in children:
        inner = [c for c in child.children() if any(True for _ in c.parameters())]
        is_list = isinstance(child, (nn.Sequential, nn.ModuleList))
        if inner and (is_list or (len(children) == 1 and not own)):
            yield from _blocks(child)
        else:
            yield child
