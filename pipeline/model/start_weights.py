"""The weights that a configuration starts from: `init.from`, `model.weights` and `model.pretrained`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from pipeline.data import Preprocessing, Splits, preprocessing_from_state
from pipeline.errors import UserError
from pipeline.model.pretrained import PretrainedWeights, library_moments, read_weights
from pipeline.model.timm_model import timm_weights
from pipeline.model.torchvision_model import torchvision_weights

INIT_FROM, SHA256 = "from", "sha256"
"""Keys of the node `init` that are no arguments of an init: the file, and its checksum, once it has been read."""
NETWORK_PREPROCESSING = "pipeline.data.preprocessing.network"
_LIBRARIES = {
    "pipeline.model.timm_model.timm_model": timm_weights,
    "pipeline.model.torchvision_model.torchvision_model": torchvision_weights,
}


def find_weights(config: Mapping[str, Any]) -> PretrainedWeights | None:
    """Read the weights that a configuration starts from; None where it starts from its init.

    Raises `UserError` with the field as the user typed it, also where two keys ask for weights.
    """
    requested, model = config["init"].get(INIT_FROM), config["model"]
    find = _LIBRARIES.get(str(model.get("_target_")))
    if requested is None:
        return find(model) if find else None
    if find and starts_from_weights({**config, "init": {}}):
        raise UserError("the model's own keys ask for weights already. Leave one of the two out.", field="init.from")
    return read_weights(requested, field="init.from")


def starts_from_weights(config: Mapping[str, Any]) -> bool:
    """Return whether a configuration asks for weights from elsewhere."""
    model = config["model"]
    own = str(model.get("_target_")) in _LIBRARIES and (model.get("weights") is not None or model.get("pretrained"))
    return bool(own) or config.get("init", {}).get(INIT_FROM) is not None


def init_arguments(node: Mapping[str, Any]) -> dict[str, Any]:
    """Return the node `init` without the keys about weights, as its target takes it."""
    return {key: value for key, value in node.items() if key not in (INIT_FROM, SHA256)}


def with_weights_file(config: dict[str, Any], weights: PretrainedWeights | None) -> dict[str, Any]:
    """Return the configuration with the file of `init.from` as it is now, and its checksum.

    `outputs/latest` will soon be another run, and by its checksum the same file is known in another place.
    """
    if weights is None or config["init"].get(INIT_FROM) is None:
        return config
    return config | {"init": config["init"] | {INIT_FROM: weights.source, SHA256: weights.sha256}}


def preprocessing_of_weights(
    node: Mapping[str, Any], weights: PretrainedWeights | None, data: Splits
) -> Preprocessing | dict[str, Any]:
    """Return the preprocessing that comes with the weights where `preprocessing=network` asks for it.

    Else return the node, with the mean and deviation that belong to the weights where it leaves them open. Raises
    `UserError` where the weights were trained on images of another shape or range.
    """
    is_open = node.get("_target_") == NETWORK_PREPROCESSING and node.get("mean") is None and node.get("std") is None
    if not is_open or weights is None:
        return dict(node)
    if weights.moments is not None:
        mean, std = library_moments(*weights.moments, channels=data.input_shape[0])
        return dict(node) | {"mean": list(mean), "std": list(std)}
    if not weights.preprocessing:
        return dict(node)
    fitted = preprocessing_from_state(weights.preprocessing)
    pixels = data.train.pixels[:1]
    is_same_range = weights.scale is None or math.isclose(weights.scale, data.scale, rel_tol=1e-3)
    try:
        if is_same_range and tuple(fitted(pixels.to("cpu")).shape[2:]) == tuple(pixels.shape[2:]):
            return fitted
    except (RuntimeError, ValueError):
        pass
    raise UserError(
        f"the preprocessing of {weights.source!r} was fitted to images of another shape or range than these, of "
        f"{' x '.join(map(str, data.input_shape))} values. Use preprocessing=channel_mean.",
        field="preprocessing",
    )
