"""A network behind a resize of its images, and the size that its images should have."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline import validation
from pipeline.errors import UserError

AUTO = "auto"


class ResizedNetwork(nn.Module):
    """`network` applied to images of `size` x `size` pixels; None: of the size that they have."""

    channels_last = True  # the memory layout in which convolutions are fastest

    def __init__(self, network: nn.Module, size: int | None, *, mode: str = "bilinear"):
        super().__init__()
        self.network = network
        self.size, self.mode = size, mode

    def forward(self, x: Tensor) -> Tensor:
        if self.size is not None and tuple(x.shape[2:]) != (self.size, self.size):
            x = F.interpolate(x, size=(self.size, self.size), mode=self.mode, align_corners=False)
        return self.network(x)


def chosen_size(resize: object, *, own: int, wants_own: bool) -> int | None:
    """Return the size that the key `resize` asks for: `own` for "auto", where the network `wants_own`.

    None keeps the images' size. Raises `UserError` naming `resize` for another value than auto, null or a number.
    """
    if resize == AUTO:
        return own if wants_own else None
    return None if resize is None else validation.integer("resize", resize, at_least=1)


def try_forward_pass(network: nn.Module, input_shape: tuple[int, int, int], name: str) -> nn.Module:
    """Return the network in training mode; raise `UserError` when it cannot process images of this size."""
    network.eval()
    try:
        with torch.no_grad():
            network(torch.zeros(2, *input_shape))
    # torch raises RuntimeError for a convolution, pool or view of too few pixels; vision transformers, whose
    # positions are for one size, raise AssertionError.
    except (RuntimeError, AssertionError) as error:
        pixels = f"{input_shape[1]}x{input_shape[2]}"
        problem = f"{name} fails on images of {pixels} pixels ({error}). Most networks there take resize=224."
        raise UserError(problem, field="resize") from error
    return network.train()
