"""A user's own network."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from torch import nn

from pipeline.errors import UserError, did_you_mean
from pipeline.model.block import HiddenBlock


def build_user_model(
    factory: Callable[..., Any], input_shape: tuple[int, int, int], classes: int, block: HiddenBlock, /, **kwargs: Any
) -> nn.Module:
    """factory(...) with `kwargs` and those of `input_shape`, `classes` and `block` that its signature names.

    `factory` is a class or function; one that takes `**kwargs` itself gets all three. The network it builds maps
    (N, C, H, W) images to (N, classes) logits. Raises `UserError` naming an argument that is unknown or missing,
    or `_target_`, as the user knows the factory, when what it builds is no `nn.Module`. What the user's own code raises
    is not caught.
    """
    if not callable(factory):
        raise UserError(f"{factory!r} is not a class or function that builds a network.", field="_target_")
    parameters = inspect.signature(factory).parameters.values()
    named = [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters)
    offered = {"input_shape": input_shape, "classes": classes, "block": block}
    arguments = {key: value for key, value in offered.items() if takes_any or key in named} | kwargs
    title = getattr(factory, "__qualname__", repr(factory))
    for key in arguments:
        if key not in named and not takes_any:
            problem = f"{title} has no such argument; it takes {', '.join(named) or 'none'}.{did_you_mean(key, named)}"
            raise UserError(problem, field=key)
    for p in parameters:
        if p.name in named and p.default is p.empty and p.name not in arguments:
            raise UserError(f"{title} needs this argument. Give it a value.", field=p.name)
    network = factory(**arguments)
    if not isinstance(network, nn.Module):
        raise UserError(f"{title} built a {type(network).__name__}, not an nn.Module.", field="_target_")
    return network
