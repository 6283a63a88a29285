"""A user's own network."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from pipeline.errors import UserError, did_you_mean, user_frames
from pipeline.model.block import HiddenBlock, ObservedBlock

NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
IGNORES_BLOCK = "ignores_block"
"""The attribute of a network that was given the hidden block and has built nothing with it."""


def build_user_model(
    factory: Callable[..., Any], input_shape: tuple[int, int, int], classes: int, block: HiddenBlock, /, **kwargs: Any
) -> nn.Module:
    """Call `factory` with `kwargs` and with those of `input_shape`, `classes` and `block` that its signature names.

    `factory` is a class or function; what it takes as `**kwargs` is only what the user gives. The network that it
    builds maps (N, C, H, W) images to (N, classes) logits. Raises `UserError` naming an argument that is unknown or
    missing, or naming `_target_` when `factory` is not callable or does not return an `nn.Module`; and naming the node
    for whatever else `factory` raises with `kwargs`, which may be wrong. Without them it is not caught.
    """
    if not callable(factory):
        raise UserError(f"{factory!r} is not a class or function that builds a network.", field="_target_")
    parameters = _signature(factory)
    names = [p.name for p in parameters if p.kind in NAMED]
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters)
    observed = ObservedBlock(block.activation, block.batchnorm, block.dropout)
    available = {"input_shape": input_shape, "classes": classes, "block": observed}
    arguments = {key: value for key, value in available.items() if key in names} | kwargs
    title = getattr(factory, "__qualname__", repr(factory))
    for key in arguments:
        if key not in names and not takes_any:
            problem = f"{title} has no such argument; it takes {', '.join(names) or 'none'}.{did_you_mean(key, names)}"
            raise UserError(problem, field=key)
    for p in parameters:
        if p.name in names and p.default is p.empty and p.name not in arguments:
            raise UserError(f"{title} needs this argument. Give it a value: +model.{p.name}=...", field=p.name)
    try:
        network = factory(**arguments)
    except (UserError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # a user's constructor may raise anything
        named = _about_arguments(error, title, arguments) if isinstance(error, TypeError) else None
        if named is None and not kwargs:
            raise
        given = ", ".join(f"{key}={value!r}" for key, value in kwargs.items())
        problem = f"{title} with {given} raised {type(error).__name__}: {error}{user_frames(error)}"
        raise named or UserError(problem, field="") from error
    if not isinstance(network, nn.Module):
        raise UserError(f"{title} built a {type(network).__name__}, not an nn.Module.", field="_target_")
    _refuse_unsuitable(network)
    if "block" in arguments and arguments["block"] is observed and not observed.is_used:
        setattr(network, IGNORES_BLOCK, True)
    return network


def _refuse_unsuitable(network: nn.Module) -> None:
    """Raise `UserError` for parameters that this program cannot train."""
    for name, parameter in network.named_parameters():
        if parameter.is_meta:
            raise UserError(f"{name} is on the device meta and has no values. Build the network on the CPU.", field="")
        if not is_lazy(parameter) and not parameter.numel():
            raise UserError(f"{name} is empty, of shape {tuple(parameter.shape)}: a width of it is 0.", field="")
        if parameter.dtype == torch.float16:
            raise UserError(
                f"{name} is float16, in which small updates vanish. Keep the parameters in float32, and let "
                "trainer.precision=16-mixed compute in float16 where that is faster.",
                field="",
            )
    for name, module in network.named_modules():
        if isinstance(module, (nn.Embedding, nn.EmbeddingBag)) and module.sparse:
            raise UserError(
                f"{name or 'the network'} has sparse gradients, which neither momentum nor the penalty can use. Build "
                "it with sparse=False: it learns the same.",
                field="",
            )


def takes_argument(factory: Callable[..., Any], name: str) -> bool:
    """Return whether the signature of `factory` names an argument `name`."""
    return any(p.name == name for p in _signature(factory))


def materialize(network: nn.Module, input_shape: tuple[int, ...]) -> None:
    """Give lazy layers their parameters, by one pass of two images of zeros in evaluation mode.

    Shapes follow from `input_shape` (C, H, W) alone, so that the network of a checkpoint gets the same ones. Networks
    without lazy layers are left alone. Raises `UserError` where the pass fails, or does not reach a lazy layer.
    """
    if not _lazy_names(network):
        return
    network.eval()
    try:
        with torch.no_grad():
            network(torch.zeros(2, *input_shape))
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        raise UserError(
            f"its lazy layers take their shapes from a batch of shape {(2, *input_shape)}, on which the network fails: "
            f"{error}{user_frames(error)}",
            field="",
        ) from error
    if missed := _lazy_names(network):
        raise UserError(
            f"the forward pass does not use the lazy layers of {', '.join(missed[:3])}, so that their shapes are not "
            "known. Use them, or remove them.",
            field="",
        )


def select_output(network: nn.Module, key: str | int) -> None:
    """Let `network` return the part `key` of its result: of a mapping, a tuple or list, or an object with attributes.

    In evaluation the result may also be a tensor of its own. Names of parameters and entries of the state dict stay as
    they are. A call raises `UserError` naming `model.output` where the result has no such part.
    """
    network.register_forward_hook(functools.partial(_select, key=key))


def describe_parts(result: Any) -> tuple[str, list[str | int]]:
    """Return what a network's result is, in words, and the keys of those parts of it that are tensors."""
    parts: dict[Any, Any] = {}
    if isinstance(result, Mapping):
        parts = dict(result)
    elif isinstance(result, (tuple, list)):
        parts = dict(enumerate(result))
    elif hasattr(result, "__dict__"):
        parts = vars(result)
    return f"a {type(result).__name__}", [key for key, part in parts.items() if isinstance(part, Tensor)]


def _select(network: nn.Module, inputs: Any, result: Any, *, key: str | int) -> Any:
    if isinstance(result, Tensor) and not network.training:  # as networks with a second head for training alone
        return result
    if isinstance(result, Mapping) and key in result:
        return result[key]
    if isinstance(result, (tuple, list)) and isinstance(key, int) and -len(result) <= key < len(result):
        return result[key]
    if isinstance(key, str) and not isinstance(result, Mapping) and isinstance(getattr(result, key, None), Tensor):
        return getattr(result, key)
    kind, keys = describe_parts(result)
    has = f"with the parts {', '.join(map(str, keys))}" if keys else "without parts that are tensors"
    if isinstance(result, Tensor):
        kind, has = "a tensor", "itself: leave the key out"
    raise UserError(f"there is no {key!r} in what the network returned, {kind} {has}.", field="model.output")


def _lazy_names(network: nn.Module) -> list[str]:
    tensors = [*network.named_parameters(), *network.named_buffers()]
    return list(dict.fromkeys(name.rpartition(".")[0] for name, tensor in tensors if is_lazy(tensor)))


def _signature(factory: Callable[..., Any]) -> list[inspect.Parameter]:
    """Return the parameters; none where Python cannot tell them, as for some functions written in C."""
    try:
        return list(inspect.signature(factory).parameters.values())
    except (TypeError, ValueError):
        return []


def _about_arguments(error: TypeError, title: str, arguments: Mapping[str, Any]) -> UserError | None:
    """Return the error as one of the user's arguments, or None where it is about something else."""
    unexpected = re.search(r"unexpected keyword argument '(\w+)'", str(error))
    if unexpected and unexpected[1] in arguments:
        return UserError(f"{title} does not take it: {error}.{user_frames(error)}", field=unexpected[1])
    missing = re.search(r"missing \d+ required (?:positional|keyword-only) arguments?: '(\w+)'", str(error))
    if missing and not user_frames(error):
        return UserError(
            f"{title} needs this argument: {error}. Give it a value: +model.{missing[1]}=...", field=missing[1]
        )
    return None
