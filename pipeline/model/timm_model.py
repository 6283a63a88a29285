"""Any network of timm (PyTorch Image Models), by its name there; an extra of this package."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from pipeline.errors import UserError, did_you_mean
from pipeline.model.pretrained import PretrainedWeights, read_weights
from pipeline.model.resized import AUTO, ResizedNetwork, chosen_size, try_forward_pass


def timm_model(
    input_shape: tuple[int, int, int],
    classes: int,
    block: object = None,
    *,
    name: str,
    resize: int | str | None = AUTO,
    pretrained: bool = False,
    weights: str | None = None,
    **arguments: Any,
) -> nn.Module:
    """Build timm's network `name`: (N, C, H, W) images -> (N, classes) logits. `arguments` go to timm.

    `block`, which every network is called with, is not used. Images are scaled to `resize` pixels a side (None: never),
    with the interpolation of the network's own weights. "auto" is the size of these weights where `pretrained` or
    `weights` asks for trained ones, and for networks that take one size only. The weights themselves are loaded by
    `WeightLoader`. Two images are passed through the network to try it.

    Raises `UserError` for an unknown `name` or argument, and, naming `resize`, for a size it cannot process.
    """
    timm, config = _import_timm(), _pretrained_config(name)
    needs_size = config.fixed_input_size and "img_size" not in arguments
    size = chosen_size(resize, own=config.input_size[-1], wants_own=needs_size or pretrained or weights is not None)
    try:
        network = timm.create_model(name, pretrained=False, num_classes=classes, in_chans=input_shape[0], **arguments)
    except (TypeError, ValueError, AssertionError, RuntimeError) as error:
        raise UserError(f"timm cannot build {name!r}: {error}", field="name") from error
    return try_forward_pass(ResizedNetwork(network, size, mode=_mode(config)), input_shape, name)


def timm_weights(node: Mapping[str, Any]) -> PretrainedWeights | None:
    """Return the weights that a `model` node asks for; None where it asks for none. Only `pretrained` downloads.

    Raises `UserError` with the field below `model`.
    """
    name, pretrained, file = node.get("name"), node.get("pretrained", False), node.get("weights")
    if not isinstance(pretrained, bool):
        raise UserError(f"expected true or false, got {pretrained!r}.", field="model.pretrained")
    if pretrained and file is not None:
        raise UserError(f"model.weights={file} gives the weights already. Leave one out.", field="model.pretrained")
    if not pretrained and file is None:
        return None
    timm, config = _import_timm(), _pretrained_config(name)
    moments = (tuple(config.mean), tuple(config.std))
    if file is not None:
        return read_weights(file, field="model.weights").with_moments(moments)
    if not (config.url or config.hf_hub_id):
        raise UserError(f"timm has no weights for {name!r}. Use pretrained=false.", field="model.pretrained")
    try:
        state = timm.create_model(name, pretrained=True).state_dict()
    except Exception as error:  # of huggingface_hub, of sockets, of torch
        raise UserError(
            f"the weights of {name!r} could not be downloaded ({type(error).__name__}). Check the connection, or give "
            "a file that you have: model.pretrained=false model.weights=FILE.",
            field="model.pretrained",
        ) from error
    return PretrainedWeights(state, f"timm {name}", "model.pretrained", moments=moments)


def _pretrained_config(name: Any) -> Any:
    """Return what timm knows about the weights of a network; raise `UserError` for an unknown name."""
    timm = _import_timm()
    if not isinstance(name, str) or not timm.is_model(name):
        meant = did_you_mean(str(name), timm.list_models())
        raise UserError(
            f"{name!r} is not a network of timm.{meant} All names: python -c 'import timm; print(timm.list_models())'.",
            field="name",
        )
    architecture = name.partition(".")[0]
    try:
        return timm.get_pretrained_cfg(name) or timm.models.PretrainedCfg(architecture=architecture)
    except RuntimeError as error:
        tags = [f"{architecture}.{config.tag}" for config in timm.models.get_arch_pretrained_cfgs(name).values()]
        known = f" It has {', '.join(tags)}." if tags else ""
        raise UserError(f"timm has no weights {name!r} of this network.{known}", field="name") from error


def _mode(config: Any) -> str:
    return config.interpolation if config.interpolation in ("bilinear", "bicubic") else "bilinear"


def _import_timm() -> Any:
    try:
        import timm
    except ImportError as error:
        raise UserError(
            "timm is not installed: pip install 'staged-training-pipeline[timm]'.", field="_target_"
        ) from error
    return timm
