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
    """Call `factory` with `kwargs` and with those of `input_shape`, `classes` and `block` that its signature names.

    `factory` is a class or function; one that takes `**kwargs` itself gets all three. The network that it builds maps
    (N, C, H, W) images to (N, classes) logits. Raises `UserError` naming an argument that is unknown or missing, or
    naming `_target_` when `factory` is not callable or does not return an `nn.Module`. Exceptions from the user's code
    are not caught.
    """
    if not callable(factory):
        raise UserError(f"{factory!r} is not a class or function that builds a network.", field="_target_")
    parameters = inspect.signature(factory).parameters.values()
    names = [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters)
    available = {"input_shape": input_shape, "classes": classes, "block": block}
    arguments = {key: value for key, value in available.items() if takes_any or key in names} | kwargs
    title = getattr(factory, "__qualname__", repr(factory))
    for key in arguments:
        if key not in names and not takes_any:
            problem = f"{title} has no such argument; it takes {', '.join(names) or 'none'}.{did_you_mean(key, names)}"
            raise UserError(problem, field=key)
    for p in parameters:
        if p.name in names and p.default is p.empty and p.name not in arguments:
            raise UserError(f"{title} needs this argument. Give it a value.", field=p.name)
    network = factory(**arguments)
    if not isinstance(network, nn.Module):
        raise UserError(f"{title} built a {type(network).__name__}, not an nn.Module.", field="_target_")
    return network


def takes_argument(factory: Callable[..., Any], name: str) -> bool:
    """Return whether the signature of `factory` names an argument `name`."""
    try:
        return name in inspect.signature(factory).parameters
    except (TypeError, ValueError):
        return False
