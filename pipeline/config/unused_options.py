"""Options that a network does not take, so that a run in which they were chosen would be the same without them.

Only networks that are built from the hidden block have the configured activation, batchnorm and dropout: the built-in
ones that need the argument `block`, and the user's own whose constructor names it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pipeline.config.instantiate import import_allowed
from pipeline.config.options_in_force import default_content, default_names, option_name
from pipeline.errors import UserError

BLOCK_KEYS = (
    "activation",
    "batchnorm",
    "batchnorm.position",
    "batchnorm.momentum",
    "batchnorm.eps",
    "regularization.dropout",
)
"""What only the hidden block reads; a network that is not built from it has activations and norms of its own."""


def takes_block(model: Mapping[str, Any]) -> bool:
    """Return whether the network of a `model` node is built from the hidden block, by the signature of its target.

    Raises `UserError` for a target that cannot be called. A built-in network that can do without its argument `block`
    does not use it.
    """
    target = import_allowed(model.get("_target_"), "model._target_")
    try:
        block = inspect.signature(target).parameters.get("block")
    except (TypeError, ValueError):
        return False
    is_built_in = getattr(target, "__module__", "").startswith("pipeline.")
    return block is not None and not (is_built_in and block.default is not block.empty)


def unused_keys(config: Mapping[str, Any]) -> list[str]:
    """Return the keys of `BLOCK_KEYS` that the network of a configuration does not use.

    The activation is used all the same by an init whose gain follows from it.
    """
    if takes_block(config["model"]):
        return []
    return [key for key in BLOCK_KEYS if not (key == "activation" and _sets_gain(config["init"]))]


def refuse_unused_options(config: Mapping[str, Any], typed: Iterable[str]) -> None:
    """Raise `UserError` naming the first option that was chosen for a network that does not take it.

    Chosen is what is among the keys and groups `typed`, and what the composed `config` has otherwise than conf/ does by
    default, as an experiment file may set it. No dropout holds for every network.
    """
    unused, typed = unused_keys(config), set(typed) - {"batchnorm.recompute"}
    for key in ("activation", "batchnorm", "regularization.dropout"):
        if key not in unused or not _is_chosen(config, key, typed):
            continue
        target = str(config["model"]["_target_"])
        is_built_in = target.startswith("pipeline.")
        reason = "brings its own" if is_built_in else "does not name `block` among its arguments"
        raise UserError(
            f"{target.rpartition('.')[2]} does not use {_override_of(config, key)}, since it {reason}: the run would "
            f"be the same without, but recorded as if it were not. {_remedy(key, is_built_in=is_built_in)} Networks "
            "that use it: model=convnet, model=mlp, model=resnet, and your own whose constructor names `block` and "
            "builds its hidden layers with it.",
            field=key,
        )


def refuse_unused_init(config: Mapping[str, Any], typed: Iterable[str], make_network: Callable[[], Any]) -> None:
    """Raise `UserError` where the init was chosen for a network without what it sets: layers, or one named `output`.

    The network is built only if that is in question.
    """
    typed, init = set(typed), config["init"]
    scale, is_scaled = init.get("output_scale"), "init.output_scale" in typed
    if init.get("model_default") or not any(f"{key}.".startswith("init.") for key in typed):
        return
    network = make_network()
    if not any(hasattr(module, "in_features") or hasattr(module, "in_channels") for module in network.modules()):
        raise UserError(
            "this network has no linear or convolutional layer whose weights an init would draw. Leave it out: "
            "init=model_default keeps those of the constructor.",
            field="init",
        )
    if is_scaled and scale is not None and getattr(network, "output", None) is None:
        raise UserError(
            "this network has no layer named `output`, whose weights it would scale. Leave it out, and scale the last "
            "layer in the network's code; the built-in networks, and your own with an attribute `output`, take it.",
            field="init.output_scale",
        )


def _is_chosen(config: Mapping[str, Any], key: str, typed: set[str]) -> bool:
    group = key.partition(".")[0]
    is_typed = group in typed or any(f"{name}.".startswith(f"{key}.") for name in typed)
    node, default = dict(config[group]), default_content(group)
    if key != "regularization.dropout":
        return is_typed or {**node, "recompute": None} != {**default, "recompute": None}
    is_other = node["dropout"] != default["dropout"] or option_name(group, node) not in (None, *default_names(group))
    return bool(node["dropout"]) and (is_typed or is_other)


def _override_of(config: Mapping[str, Any], key: str) -> str:
    """Return `key=value` as it may have been typed."""
    group, _, inner = key.partition(".")
    value = config[group][inner] if inner else option_name(group, config[group])
    return key if value is None else f"{key}={value}"


def _sets_gain(init: Mapping[str, Any]) -> bool:
    return "gain" in init and init["gain"] is None


def _remedy(key: str, *, is_built_in: bool) -> str:
    if key == "regularization.dropout":
        return "Choose regularization=l2 or regularization=none, which have no dropout."
    return "Leave it out." if is_built_in else "Leave it out, and choose it in the network's code."
