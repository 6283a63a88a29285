"""Which options are in force, and which the network ignores, so that a check proposes only what changes something."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from pipeline.config.options_in_force import options_in_force
from pipeline.config.override_keys import override_key
from pipeline.config.unused_options import BLOCK_KEYS, takes_block
from pipeline.model.start_weights import starts_from_weights
from pipeline.model.user_model import IGNORES_BLOCK


def option_signals(config: Mapping[str, Any], network: nn.Module, *, outputs: int | None = None) -> dict[str, Any]:
    """Return `options` and `ignored_keys` of a configuration and the network that was built from it.

    With the number of `outputs`, the init is ignored where no layer that it draws gives so many.
    """
    ignored = [] if _uses_block(config["model"], network) else list(BLOCK_KEYS)
    if getattr(network, "output", None) is None:
        ignored.append("init.output_scale")
    if starts_from_weights(config) or (outputs is not None and outputs not in _layer_outputs(network)):
        ignored.append("init")
    return {"options": options_in_force(config), "ignored_keys": ignored}


def _layer_outputs(network: nn.Module) -> set[int]:
    """Return the numbers of outputs of the linear and convolutional layers, whose weights an init draws."""
    sizes = (getattr(m, "out_features", None) or getattr(m, "out_channels", None) for m in network.modules())
    return {size for size in sizes if isinstance(size, int)}


def ignored_options(overrides: Iterable[str], signals: Mapping[str, Any], network: nn.Module) -> list[str]:
    """Return `key=value` of what the command asks for and the network ignores; `signals` are those of `option_signals`.

    What holds all the same is left out: no dropout, and no batchnorm where the network has none.
    """
    typed = {override_key(override) for override in overrides}
    values = {key: signals["options"][key] for key in signals["ignored_keys"] if key in signals["options"]}
    values.pop("init", None)  # where weights are loaded it is in force for the head
    if not any(isinstance(module, _BatchNorm) for module in network.modules()):
        values = {key: value for key, value in values.items() if not (key == "batchnorm" and value == "none")}
    groups = {"regularization.dropout": "regularization"}
    return [f"{key}={value}" for key, value in values.items() if value and typed & {key, groups.get(key)}]


def _uses_block(model: Mapping[str, Any], network: nn.Module) -> bool:
    """Return whether the network is built from the configured hidden block.

    What takes the block is not built from it where it has no hidden layer, or leaves the block alone.
    """
    if not takes_block(model):
        return False
    if str(model["_target_"]).startswith("pipeline."):
        return any(name.rpartition(".")[2] == "activation" for name, _ in network.named_modules())
    return not getattr(network, IGNORES_BLOCK, False)
