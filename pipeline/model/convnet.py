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

    (N, C, H, W) images -> (N, classes) logits. The width doubles after each pool: width 16, depth 4, pool_every 2 is
    16-16-pool-32-32-pool. A pool follows its convolution directly, so batch norm, activation and dropout process a
    quarter of the values. (Without batch norm, a monotonic activation gives the same before and after a maximum.)
    The `head` between the last map and `output` is "flatten" (all positions) or "average" (the mean over positions).
    Dropout is in the last block alone, before the many weights of `output`. Between convolutions, whose few weights see
    every position, it costs accuracy (docs/LOG.md).

    Raises `UserError` naming the field, also when the image is too small for that many pools.
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
        _check_depth(input_shape, depth, pool_every)

        channels, height, breadth = input_shape
        without_dropout = replace(block, dropout=0.0)
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        for i in range(depth):
            channels_out = width * 2 ** (i // pool_every)
            is_last, pool = i + 1 == depth, (i + 1) % pool_every == 0
            current = block if is_last else without_dropout
            layers[f"conv{i + 1}"] = current.make_conv(channels, channels_out, kernel=3, pool=pool)
            channels = channels_out
            if pool:
                height, breadth = height // 2, breadth // 2
        self.hidden = nn.Sequential(layers)
        average = head == "average"
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()) if average else nn.Flatten()
        self.output = nn.Linear(channels if average else channels * height * breadth, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.output(self.head(self.hidden(x)))


def require_image_input(input_shape: tuple[int, int, int]) -> None:
    """Raise `UserError` when the input (D, 1, 1) has no spatial extent for a convolution."""
    if input_shape[1:] == (1, 1):
        raise UserError(
            f"a convolutional network needs images; the inputs are {input_shape[0]} features. Use model=mlp."
        )


def _check_depth(input_shape: tuple[int, int, int], depth: int, pool_every: int) -> None:
    """Raise `UserError` when so many layers would pool the image below one pixel."""
    _, height, breadth = input_shape
    max_pools = min(height, breadth).bit_length() - 1  # halved, rounding down, until one pixel is left
    max_depth = (max_pools + 1) * pool_every - 1
    if depth > max_depth:
        problem = (
            f"{depth} layers with a 2x2 pool after every {pool_every} are too many for images of "
            f"{height}x{breadth} pixels. Set it to {max_depth} at most, or raise pool_every."
        )
        raise UserError(problem, field="depth")
