"""Any classification network of torchvision, by its name there, and the weights that torchvision has for it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.error import URLError

from torch import Tensor, nn

from pipeline.errors import UserError, did_you_mean
from pipeline.model.pretrained import PretrainedWeights, read_weights
from pipeline.model.resized import AUTO, ResizedNetwork, chosen_size, try_forward_pass

# Without the auxiliary outputs that these networks give in training; `init_weights` is set since its default warns.
_EXTRA_ARGS: dict[str, dict[str, Any]] = {
    "googlenet": {"aux_logits": False, "init_weights": False},
    "inception_v3": {"aux_logits": False, "init_weights": False},
}


def torchvision_model(
    input_shape: tuple[int, int, int],
    classes: int,
    block: object = None,
    *,
    name: str,
    resize: int | str | None,
    weights: str | None = None,
) -> nn.Module:
    """Build torchvision's network `name`: (N, C, H, W) images -> (N, classes) logits.

    Grey images are repeated to three channels. Images are first scaled to `resize` pixels a side (bilinear; None:
    never); "auto" is the size of the network's trained weights where `weights` asks for some, which `WeightLoader`
    then loads. The network has the activations, batch norm and dropout that torchvision gives it; `block`, which every
    network is called with, is not used. Two images are passed through the network to try it.

    Raises `UserError` for an unknown or unsuitable `name`, for other than 1 or 3 channels, and, naming `resize`, when
    the network cannot process images of this size.
    """
    if input_shape[0] not in (1, 3):
        raise UserError(f"torchvision's networks take 1 or 3 channels, not {input_shape[0]}. Use model=convnet.")
    _check_name(name)
    own = _transforms(name).crop_size[0] if resize == AUTO and weights is not None else 0
    size = chosen_size(resize, own=own, wants_own=weights is not None)
    return try_forward_pass(TorchvisionModel(_build(name, classes), size), input_shape, name)


class TorchvisionModel(ResizedNetwork):
    """`network` applied to resized images of three channels."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.expand(-1, 3, -1, -1))


def torchvision_weights(node: Mapping[str, Any]) -> PretrainedWeights | None:
    """Return the weights that `weights` of a `model` node asks for: a file, or a name of torchvision's, downloaded.

    None where it asks for none. Raises `UserError` with the field below `model`.
    """
    requested, name = node.get("weights"), node.get("name")
    if requested is None:
        return None
    from torchvision import models

    _check_name(name)
    named = models.get_model_weights(str(name)).__members__
    transforms = _transforms(str(name))
    moments = (tuple(transforms.mean), tuple(transforms.std))
    if requested not in named:
        if not Path(str(requested)).exists():
            meant = did_you_mean(str(requested), named)
            raise UserError(
                f"there is no file {str(requested)!r}, and torchvision's weights of {name} are "
                f"{', '.join(named)}.{meant} These would be downloaded.",
                field="model.weights",
            )
        return read_weights(requested, field="model.weights").with_moments(moments)
    try:
        state = named[str(requested)].get_state_dict(progress=False, check_hash=True, weights_only=True)
    except (URLError, OSError, RuntimeError) as error:
        raise UserError(
            f"the weights {requested} of {name} could not be downloaded ({error}). Check the connection, or give a "
            "file that you have: model.weights=FILE.",
            field="model.weights",
        ) from error
    return PretrainedWeights(state, f"torchvision {named[str(requested)]}", "model.weights", moments=moments)


def _transforms(name: str) -> Any:
    """Return the preprocessing of the network's default weights, with `mean`, `std` and `crop_size`."""
    from torchvision import models

    return models.get_model_weights(name).DEFAULT.transforms()


def _check_name(name: Any) -> None:
    from torchvision import models  # here: it takes seconds to import

    classifiers = models.list_models(module=models)
    if name not in classifiers:
        if name in models.list_models():
            raise UserError(
                f"{name!r} of torchvision.models does not classify images (but segments, detects, ...).", field="name"
            )
        meant = did_you_mean(str(name), classifiers)
        raise UserError(f"{name!r} is not a classification network of torchvision.models.{meant}", field="name")


def _build(name: str, classes: int) -> nn.Module:
    from torchvision import models

    return models.get_model(name, weights=None, num_classes=classes, **_EXTRA_ARGS.get(name, {}))
