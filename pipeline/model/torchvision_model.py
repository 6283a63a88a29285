"""Any classification network of torchvision, by its name there."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline import validation
from pipeline.errors import UserError, did_you_mean

# Without the auxiliary outputs that these networks give in training; `init_weights` is set since its default warns.
_EXTRA_ARGS: dict[str, dict[str, Any]] = {
    "googlenet": {"aux_logits": False, "init_weights": False},
    "inception_v3": {"aux_logits": False, "init_weights": False},
}


def torchvision_model(
    input_shape: tuple[int, int, int], classes: int, block: object = None, *, name: str, resize: int | None
) -> nn.Module:
    """Build torchvision's network `name`, untrained: (N, C, H, W) images -> (N, classes) logits.

    Grey images are repeated to three channels. With `resize`, images are first scaled to that many pixels a side
    (bilinear). The network has the activations, batch norm and dropout that torchvision gives it; `block`, which every
    network is called with, is not used. Two images are passed through the network to try it.

    Raises `UserError` for an unknown or unsuitable `name`, for other than 1 or 3 channels, and, naming `resize`, when
    the network cannot process images of this size.
    """
    if input_shape[0] not in (1, 3):
        raise UserError(f"torchvision's networks take 1 or 3 channels, not {input_shape[0]}. Use model=convnet.")
    if resize is not None:
        resize = validation.integer("resize", resize, at_least=1)
    network = TorchvisionModel(_build(name, classes), resize)
    _check_forward_pass(network, input_shape, classes, name)
    return network


class TorchvisionModel(nn.Module):
    """`network` applied to resized images of three channels."""

    channels_last = True  # the memory layout in which convolutions are fastest

    def __init__(self, network: nn.Module, resize: int | None):
        super().__init__()
        self.network = network
        self.resize = resize

    def forward(self, x: Tensor) -> Tensor:
        if self.resize is not None:
            x = F.interpolate(x, size=(self.resize, self.resize), mode="bilinear", align_corners=False)
        return self.network(x.expand(-1, 3, -1, -1))


def _build(name: str, classes: int) -> nn.Module:
    from torchvision import models  # here: it takes seconds to import

    classifiers = models.list_models(module=models)
    if name not in classifiers:
        if name in models.list_models():
            raise UserError(
                f"{name!r} of torchvision.models does not classify images (but segments, detects, ...).", field="name"
            )
        meant = did_you_mean(str(name), classifiers)
        raise UserError(f"{name!r} is not a classification network of torchvision.models.{meant}", field="name")
    return models.get_model(name, weights=None, num_classes=classes, **_EXTRA_ARGS.get(name, {}))


def _check_forward_pass(network: nn.Module, input_shape: tuple[int, int, int], classes: int, name: str) -> None:
    """Raise `UserError` when `network` cannot process images of this size."""
    network.eval()
    try:
        with torch.no_grad():
            logits = network(torch.zeros(2, *input_shape))
    # torch raises RuntimeError for a convolution, pool or view of too few pixels; vision transformers, whose
    # positions are for one size, raise AssertionError.
    except (RuntimeError, AssertionError) as error:
        pixels = f"{input_shape[1]}x{input_shape[2]}"
        problem = f"{name} fails on images of {pixels} pixels ({error}). Most networks there take resize=224."
        raise UserError(problem, field="resize") from error
    network.train()
    assert logits.shape == (2, classes)
