"""A plain convolutional network."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace

from torch import Tensor, nn

from pipeline import validation
from pipeline.errors import UserError
from pipeline.model.block import HiddenBlock


class ConvNet(nn.Module):
    """`depth` 3x3 convolutions with 2x2 max pooling after every `pool_every`, and the linear layer `output`.

    The width doubles after each pool: width 16, depth 4, pool_every 2 is 16-16-pool-32-32-pool. A pool stands directly
    behind its convolution: batch norm, activation and dropout then work on a quarter of the values. Without batch norm,
    a rising activation gives the same on either side of a maximum. The `head` between the last map and `output` is
    `flatten` (all positions) or `average` (the mean over positions).
    Dropout stands in the last block alone, whose output the many weights of `output` take; between convolutions, whose
    few weights see every position, it costs accuracy (docs/LOG.md).
    (N, C, H, W) images -> (N, classes) logits. Raises `UserError` naming the field, also when the image is too small
    for that many pools.
    """

    channels_last = True  # the memory layout in which convolutions are faster

    def __init__(
        self,
        input_shape: tuple[int, int, int],
        classes: int,
        block: HiddenBlock,
        *,
        width: int,
        depth: int,
        pool_every: int,
        head: str,
    ):
        super().__init__()
        width = validation.integer("width", width, at_least=1)
        depth = validation.integer("depth", depth, at_least=1)
        pool_every = validation.integer("pool_every", pool_every, at_least=1)
        validation.one_of("head", head, ["flatten", "average"])
        require_image_input(input_shape)
        _refuse_too_many_pools(input_shape, depth, pool_every)

        channels, height, breadth = input_shape
        undropped = replace(block, dropout=0.0)
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        for i in range(depth):
            out = width * 2 ** (i // pool_every)
            last, pool = i + 1 == depth, (i + 1) % pool_every == 0
            layers[f"conv{i + 1}"] = (block if last else undropped).make_conv(channels, out, kernel=3, pool=pool)
            channels = out
            if pool:
                height, breadth = height // 2, breadth // 2
        self.hidden = nn.Sequential(layers)
        average = head == "average"
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()) if average else nn.Flatten()
        self.output = nn.Linear(channels if average else channels * height * breadth, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.output(self.head(self.hidden(x)))


def require_image_input(input_shape: tuple[int, int, int]) -> None:
    """Raise `UserError` when the input has no spatial extent, (D, 1, 1), which is no work for a convolution."""
    if input_shape[1:] == (1, 1):
        raise UserError(
            f"a convolutional network needs images; the inputs are {input_shape[0]} features. Use model=mlp."
        )


def _refuse_too_many_pools(input_shape: tuple[int, int, int], depth: int, pool_every: int) -> None:
    _, height, breadth = input_shape
    pools = min(height, breadth).bit_length() - 1  # halved, rounding down, until one pixel is left
    deepest = (pools + 1) * pool_every - 1
    if depth > deepest:
        problem = (
            f"{depth} layers with a 2x2 pool after every {pool_every} are too many for images of "
            f"{height}x{breadth} pixels. Set it to {deepest} at most, or raise pool_every."
        )
        raise UserError(problem, field="depth")
