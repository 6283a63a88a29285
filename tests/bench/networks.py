"""Networks of the benchmark on a GPU that the pipeline itself does not have."""

from __future__ import annotations

from torch import nn


def resnet18(input_shape: tuple[int, int, int], classes: int, blocks: int = 2) -> nn.Module:
    """Build torchvision's ResNet-18 as it is used on 32x32 images: 11 million parameters.

    The first convolution is 3x3 with stride 1, and no pooling follows (He et al. 2016, section 4.2). `blocks` are those
    of each of the four stages.
    """
    from torchvision.models.resnet import BasicBlock, ResNet

    network = ResNet(BasicBlock, [blocks] * 4, num_classes=classes)
    network.conv1 = nn.Conv2d(input_shape[0], 64, 3, padding=1, bias=False)
    network.maxpool = nn.Identity()
    network.channels_last = True
    return network
