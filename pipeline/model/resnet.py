"""A small residual network."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace

from torch import Tensor, nn

from pipeline import validation
from pipeline.model.block import HiddenBlock
from pipeline.model.convnet import require_image_input


class ResNet(nn.Module):
    """The residual network of He et al. 2016, section 4.2 (their form for CIFAR), with 6 * depth + 2 layers.

    (N, C, H, W) images -> (N, classes) logits. A 3x3 convolution `stem`; three stages of `depth` residual blocks with
    `width`, 2 and 4 times `width` channels, the second and third halving the map; the mean over positions; the linear
    layer `output`. Raises `UserError` naming the field.
    """

    channels_last = True  # the memory layout in which convolutions are faster

    def __init__(self, input_shape: tuple[int, int, int], classes: int, block: HiddenBlock, *, width: int, depth: int):
        super().__init__()
        width = validation.integer("width", width, at_least=1)
        depth = validation.integer("depth", depth, at_least=1)
        require_image_input(input_shape)
        self.stem = replace(block, dropout=0.0).make_conv(input_shape[0], width, kernel=3)
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        channels = width
        for stage in range(3):
            for i in range(depth):
                stride = 2 if stage > 0 and i == 0 else 1
                channels_out = width * 2**stage
                layers[f"stage{stage + 1}_block{i + 1}"] = Residual(channels, channels_out, block, stride=stride)
                channels = channels_out
        self.hidden = nn.Sequential(layers)
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.output = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.output(self.head(self.hidden(self.stem(x))))


class Residual(nn.Module):
    """f(F(x) + shortcut(x)), F = two 3x3 convolutions: (N, channels_in, H, W) -> (N, channels_out, H/stride, W/stride).

    The shortcut is the identity where the shapes allow it, otherwise a strided 1x1 convolution (with batch norm when
    F has it). Under Maxout it is always the latter, as the sum has `pieces` times the channels. Dropout is inside F
    alone (Zagoruyko & Komodakis 2016): on the sum it would add noise to the shortcut in every block.
    """

    def __init__(self, channels_in: int, channels_out: int, block: HiddenBlock, *, stride: int):
        super().__init__()
        self.first = block.make_conv(channels_in, channels_out, kernel=3, stride=stride)
        self.second = block.make_conv_preactivation(channels_out, channels_out, kernel=3, stride=1)
        is_same_shape = stride == 1 and channels_in == channels_out * block.pieces
        project = block.make_conv_preactivation
        self.shortcut = nn.Identity() if is_same_shape else project(channels_in, channels_out, kernel=1, stride=stride)
        self.after = replace(block, dropout=0.0).make_conv_activation(channels_out)

    def forward(self, x: Tensor) -> Tensor:
        return self.after(self.second(self.first(x)) + self.shortcut(x))
