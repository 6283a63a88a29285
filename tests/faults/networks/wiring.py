"""Networks in which something does not take part, takes part twice, or mixes what should stay apart."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.faults.networks.healthy import Shape, SmallConvNet, SmallMLP


class LinearMLP(nn.Module):
    """Three layers with nothing between them: one layer's worth."""

    def __init__(self, input_shape: Shape, classes: int):
        super().__init__()
        size = input_shape[0] * input_shape[1] * input_shape[2]
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(size, 64), nn.Linear(64, 64), nn.Linear(64, classes))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class LinearConvNet(SmallConvNet):
    """Average pooling and no activation anywhere."""

    def forward(self, x: Tensor) -> Tensor:
        x = F.avg_pool2d(self.conv1(x), 2)
        x = F.avg_pool2d(self.conv2(x), 2)
        return self.output(self.dense(x.flatten(1)))


class LinearTail(SmallConvNet):
    """The activation between the two linear layers is forgotten, and dropout stands in its place."""

    def forward(self, x: Tensor) -> Tensor:
        return self.output(F.dropout(self.dense(self.features(x).flatten(1)), 0.2, self.training))


class FrozenFirst(SmallConvNet):
    """Convolutions at their random start, frozen as if they had been trained elsewhere."""

    def __init__(self, input_shape: Shape, classes: int):
        super().__init__(input_shape, classes)
        for layer in (self.conv1, self.conv2):
            layer.requires_grad_(False)


class FrozenMiddle(SmallMLP):
    """One hidden layer is left frozen."""

    def __init__(self, input_shape: Shape, classes: int):
        super().__init__(input_shape, classes)
        self.second.weight.requires_grad = False


class Detached(SmallMLP):
    """`detach` between the layers: the first never gets a gradient."""

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.first(x.flatten(1))).detach()
        return self.output(F.relu(self.second(h)))


class FeaturesWithoutGradient(SmallConvNet):
    """A `no_grad` left around the features."""

    def hidden(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            x = self.features(x)
        return F.relu(self.dense(x.flatten(1)))


class ThroughNumpy(SmallMLP):
    """A step written with NumPy cuts the graph."""

    def forward(self, x: Tensor) -> Tensor:
        h = torch.from_numpy(self.first(x.flatten(1)).detach().cpu().numpy()).to(x.device)
        return self.output(F.relu(self.second(F.relu(h))))


class Unused(SmallConvNet):
    """A layer is made and never called."""

    def __init__(self, input_shape: Shape, classes: int):
        super().__init__(input_shape, classes)
        self.conv3 = nn.Conv2d(16, 16, 3, padding=1)


class OverwrittenBranch(SmallMLP):
    """The result of a layer is overwritten by the next line."""

    def forward(self, x: Tensor) -> Tensor:
        x = h = F.relu(self.first(x.flatten(1)))
        h = F.relu(self.second(h))
        h = x
        return self.output(h)


class SharedByMistake(nn.Module):
    """`[layer] * 4` is one layer four times."""

    def __init__(self, input_shape: Shape, classes: int, width: int = 64):
        super().__init__()
        self.stem = nn.Linear(input_shape[0] * input_shape[1] * input_shape[2], width)
        self.hidden = nn.ModuleList([nn.Linear(width, width)] * 4)
        self.output = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x.flatten(1)))
        for layer in self.hidden:
            x = F.relu(layer(x))
        return self.output(x)


class MixedByReshape(SmallConvNet):
    """Channels first and examples second when it is flattened: each row holds parts of several images."""

    def hidden(self, x: Tensor) -> Tensor:
        maps = self.features(x).transpose(0, 1)  # (C, N, H, W)
        return F.relu(self.dense(maps.reshape(len(x), -1)))


class MixedByView(SmallMLP):
    """`permute` before `reshape`: pixels first, examples last."""

    def forward(self, x: Tensor) -> Tensor:
        pixels = x.flatten(1).t()  # (D, N)
        return super().forward(pixels.reshape(len(x), -1))


class CentredByBatch(SmallMLP):
    """Features minus their mean over the batch, also when it is tested."""

    def forward(self, x: Tensor) -> Tensor:
        h = self.hidden(x)
        return self.output(h - h.mean(0, keepdim=True))


class NormWithoutMemory(SmallConvNet):
    """Batch norm without running statistics: a test image's answer depends on its neighbours."""

    def __init__(self, input_shape: Shape, classes: int):
        super().__init__(input_shape, classes)
        self.norm = nn.BatchNorm1d(64, track_running_stats=False)

    def hidden(self, x: Tensor) -> Tensor:
        return self.norm(super().hidden(x))


class AttentionAcrossExamples(nn.Module):
    """`batch_first` forgotten: the images of a batch attend to each other instead of the patches."""

    def __init__(self, input_shape: Shape, classes: int, width: int = 32):
        super().__init__()
        self.embed = nn.Linear(input_shape[0] * input_shape[2], width)
        self.attention = nn.MultiheadAttention(width, 4)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.dense, self.output = nn.Linear(width, width), nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        rows = self.norm1(F.gelu(self.embed(x.transpose(1, 2).flatten(2))))  # (N, H, width)
        rows = rows + self.attention(rows, rows, rows, need_weights=False)[0]
        return self.output(F.gelu(self.dense(self.norm2(rows))).mean(1))


class ImageForgotten(SmallMLP):
    """A buffer of zeros is passed on instead of the image."""

    def forward(self, x: Tensor) -> Tensor:
        buffer = torch.zeros_like(x)
        return super().forward(buffer)


class NoiseInstead(SmallMLP):
    """The noise that was to be added takes the image's place."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(torch.randn_like(x))


class SoftmaxHidden(nn.Module):
    """Softmax as hidden activation, three times."""

    def __init__(self, input_shape: Shape, classes: int, width: int = 64):
        super().__init__()
        sizes = [input_shape[0] * input_shape[1] * input_shape[2], width, width, width]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(sizes))
        self.output = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        for layer in self.layers:
            x = F.softmax(layer(x), dim=1)
        return self.output(x)


class DropoutAlwaysOn(SmallMLP):
    """`F.dropout` without `self.training`: also when it is tested."""

    def hidden(self, x: Tensor) -> Tensor:
        h = F.dropout(F.relu(self.first(x.flatten(1))), 0.7)
        return F.dropout(F.relu(self.second(h)), 0.7)


class RotatedInTraining(SmallConvNet):
    """Quarter turns as augmentation, for things that are never seen turned."""

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            x = torch.rot90(x, int(torch.randint(1, 4, ())), (2, 3))
        return super().forward(x)


class NoisyInTraining(SmallConvNet):
    """Augmentation by noise of ten times the image's spread."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x + 4.0 * torch.randn_like(x) if self.training else x)


class NormStuckInTest(nn.Module):
    """Batch norm is switched to evaluation for good and its running statistics never move."""

    def __init__(self, input_shape: Shape, classes: int):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(input_shape[0], 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(),
            nn.Conv2d(8, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU(),
        )  # fmt: skip
        self.output = nn.Linear(16 * (input_shape[1] // 4) * (input_shape[2] // 4), classes)

    def train(self, mode: bool = True) -> NormStuckInTest:
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.training = False
        return self

    def forward(self, x: Tensor) -> Tensor:
        return self.output(self.body(x).flatten(1))


class NormStuckInTraining(nn.Module):
    """Batch norm normalizes by the batch at test time too: the answer to an image depends on its neighbours."""

    def __init__(self, input_shape: Shape, classes: int):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(input_shape[0], 8, 3, 2, 1), nn.Conv2d(8, 16, 3, 2, 1)
        self.output = nn.Linear(16 * (input_shape[1] // 4) * (input_shape[2] // 4), classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(F.batch_norm(self.conv1(x), None, None, training=True))
        x = F.relu(F.batch_norm(self.conv2(x), None, None, training=True))
        return self.output(x.flatten(1))
