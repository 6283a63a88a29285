"""Which options are in force, and which the network ignores, so that a check proposes only what changes something."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from pipeline.config.instantiate import import_allowed
from pipeline.config.options_in_force import options_in_force
from pipeline.config.override_keys import override_key
from pipeline.model.torchvision_model import torchvision_model

BLOCK_KEYS = (
    "activation",
    "batchnorm",
    "batchnorm.position",
    "batchnorm.momentum",
    "batchnorm.eps",
    "regularization.dropout",
)
"""What only the hidden block reads; a network that is not built from it has activations and norms of its own."""


def option_signals(config: Mapping[str, Any], network: nn.Module) -> dict[str, Any]:
    """Return `options` and `ignored_keys` of a configuration and the network that was built from it."""
    ignored = [] if _uses_block(config["model"], network) else list(BLOCK_KEYS)
    if getattr(network, "output", None) is None:
        ignored.append("init.output_scale")
    return {"options": options_in_force(config), "ignored_keys": ignored}


def ignored_options(overrides: Iterable[str], signals: Mapping[str, Any], network: nn.Module) -> list[str]:
    """Return `key=value` of what the command asks for and the network ignores; `signals` are those of `option_signals`.

    What holds all the same is left out: no dropout, and no batchnorm where the network has none.
    """
    typed = {override_key(override) for override in overrides}
    values = {key: signals["options"][key] for key in signals["ignored_keys"] if key in signals["options"]}
    if not any(isinstance(module, _BatchNorm) for module in network.modules()):
        values = {key: value for key, value in values.items() if not (key == "batchnorm" and value == "none")}
    groups = {"regularization.dropout": "regularization"}
    return [f"{key}={value}" for key, value in values.items() if value and typed & {key, groups.get(key)}]


def _uses_block(node: Mapping[str, Any], network: nn.Module) -> bool:
    """Return whether the network is built from the configured hidden block.

    A user's factory gets the block where its signature names it, or takes any keyword. A built-in network without a
    hidden layer has no block either.
    """
    target = import_allowed(node["_target_"], "model._target_")
    if target is torchvision_model:
        return False
    if getattr(target, "__module__", "").startswith("pipeline."):
        return any(name.rpartition(".")[2] == "activation" for name, _ in network.named_modules())
    parameters = inspect.signature(target).parameters.values()
    return any(p.name == "block" or p.kind is p.VAR_KEYWORD for p in parameters)
