"""Networks with a mistake at their output."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.faults.networks.healthy import Shape, SmallConvNet, SmallMLP


class SoftmaxMLP(SmallMLP):
    """Probabilities, for a loss that takes logits."""

    def forward(self, x: Tensor) -> Tensor:
        return F.softmax(super().forward(x), dim=1)


class SoftmaxConvNet(nn.Module):
    """The same as a module at the end of a Sequential."""

    def __init__(self, input_shape: Shape, classes: int):
        super().__init__()
        self.net = nn.Sequential(SmallConvNet(input_shape, classes), nn.Softmax(dim=1))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class HandmadeSoftmax(SmallMLP):
    """exp(z) / sum exp(z), written out."""

    def forward(self, x: Tensor) -> Tensor:
        powers = super().forward(x).exp()
        return powers / powers.sum(1, keepdim=True)


class ReluConvNet(SmallConvNet):
    """ReLU on the logits, functional."""

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(super().forward(x))


class ReluMLP(nn.Module):
    """ReLU on the logits, as every layer is built by one helper that adds it."""

    def __init__(self, input_shape: Shape, classes: int):
        super().__init__()
        sizes = [input_shape[0] * input_shape[1] * input_shape[2], 34, 34, 34, classes]
        layers = [nn.Sequential(nn.Linear(a, b), nn.ReLU()) for a, b in itertools.pairwise(sizes)]
        self.net = nn.Sequential(nn.Flatten(), *layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class SigmoidMLP(SmallMLP):
    """One sigmoid per class, under a softmax loss."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.sigmoid(super().forward(x))


class SigmoidConvNet(SmallConvNet):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).sigmoid()


class TanhMLP(SmallMLP):
    """Logits squashed to (-1, 1)."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).tanh()


class DropoutAfterLogits(SmallConvNet):
    """Half of the logits become 0 at each step."""

    def __init__(self, input_shape: Shape, classes: int):
        super().__init__(input_shape, classes)
        self.dropout = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(super().forward(x))


class BatchNormAfterLogits(SmallMLP):
    """The logits normalized over the batch."""

    def __init__(self, input_shape: Shape, classes: int):
        super().__init__(input_shape, classes)
        self.norm = nn.BatchNorm1d(classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(super().forward(x))


class SoftmaxOverBatch(SmallMLP):
    """dim=0: the examples of a batch compete for a share of each class."""

    def forward(self, x: Tensor) -> Tensor:
        return F.softmax(super().forward(x), dim=0)


class UnitLogits(SmallMLP):
    """Logits scaled to length one: a softmax of them can never be sure."""

    def forward(self, x: Tensor) -> Tensor:
        return F.normalize(super().forward(x), dim=1)


class HotLogits(SmallMLP):
    """Logits times 50, a temperature applied the wrong way round."""

    def forward(self, x: Tensor) -> Tensor:
        return 50 * super().forward(x)


class OneSoftmaxUnit(nn.Module):
    """A single unit with a softmax: always 1."""

    def __init__(self, input_shape: Shape):
        super().__init__()
        self.body = SmallConvNet(input_shape, 1) if input_shape[1] > 1 else SmallMLP(input_shape, 1)

    def forward(self, x: Tensor) -> Tensor:
        return F.softmax(self.body(x), dim=1)


class OneSigmoidUnit(nn.Module):
    """A single sigmoid for several classes."""

    def __init__(self, input_shape: Shape):
        super().__init__()
        self.body = SmallConvNet(input_shape, 1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.sigmoid(self.body(x))


class OneClassShort(SmallMLP):
    """The labels' highest number taken for their count."""

    def __init__(self, input_shape: Shape, classes: int):
        super().__init__(input_shape, classes - 1)


class HundredOutputs(SmallConvNet):
    """The head of another task: a hundred outputs for a few classes."""

    def __init__(self, input_shape: Shape):
        super().__init__(input_shape, 100)


class MapsForLogits(nn.Module):
    """The mean over positions is forgotten: (N, K, H, W)."""

    def __init__(self, input_shape: Shape, classes: int):
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(input_shape[0], 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, classes, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)
