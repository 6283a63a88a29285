"""Networks as users write them, and sound: a finding on any is a false alarm. Shapes: (N, C, H, W) -> (N, K)."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Shape = tuple[int, int, int]


class SmallMLP(nn.Module):
    """Two hidden layers; the twin of the faulty fully connected ones."""

    def __init__(self, input_shape: Shape, classes: int, width: int = 64):
        super().__init__()
        channels, height, breadth = input_shape
        self.first = nn.Linear(channels * height * breadth, width)
        self.second = nn.Linear(width, width)
        self.output = nn.Linear(width, classes)

    def hidden(self, x: Tensor) -> Tensor:
        return F.relu(self.second(F.relu(self.first(x.flatten(1)))))

    def forward(self, x: Tensor) -> Tensor:
        return self.output(self.hidden(x))


class SmallConvNet(nn.Module):
    """Two convolutions and two linear layers, functional activations; the twin of the faulty convolutional ones."""

    def __init__(self, input_shape: Shape, classes: int, width: int = 8):
        super().__init__()
        channels, height, breadth = input_shape
        self.conv1 = nn.Conv2d(channels, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, 2 * width, 3, padding=1)
        self.dense = nn.Linear(2 * width * (height // 4) * (breadth // 4), 64)
        self.output = nn.Linear(64, classes)

    def features(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        return F.max_pool2d(F.relu(self.conv2(x)), 2)

    def hidden(self, x: Tensor) -> Tensor:
        return F.relu(self.dense(self.features(x).flatten(1)))

    def forward(self, x: Tensor) -> Tensor:
        return self.output(self.hidden(x))


class OneReluForAll(nn.Module):
    """A single activation module used after every layer."""

    def __init__(self, input_shape: Shape, classes: int):
        super().__init__()
        self.flatten, self.relu = nn.Flatten(), nn.ReLU(inplace=True)
        sizes = [input_shape[0] * input_shape[1] * input_shape[2], 64, 64, 64]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(sizes))
        self.head = nn.Linear(64, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.flatten(x)
        for layer in self.layers:
            x = self.relu(layer(x))
        return self.head(x)


class LeNet(nn.Module):
    """LeCun et al. 1998: tanh and average pooling."""

    def __init__(self, input_shape: Shape, classes: int):
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(input_shape[0], 6, 5, padding=2), nn.Tanh(), nn.AvgPool2d(2),
            nn.Conv2d(6, 16, 3, padding=1), nn.Tanh(), nn.AvgPool2d(2),
            nn.Flatten(), nn.Linear(16 * (input_shape[1] // 4) * (input_shape[2] // 4), 84), nn.Tanh(),
            nn.Linear(84, classes),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class ResidualMLP(nn.Module):
    """Pre-normalized residual blocks: x + W2 gelu(W1 layernorm(x)); the last layer of each starts at zero."""

    def __init__(self, input_shape: Shape, classes: int, width: int = 64, depth: int = 4):
        super().__init__()
        self.stem = nn.Linear(input_shape[0] * input_shape[1] * input_shape[2], width)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))
            for _ in range(depth)
        )
        for block in self.blocks:
            nn.init.zeros_(block[3].weight)  # type: ignore[index]
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x.flatten(1))
        for block in self.blocks:
            x = x + block(x)
        return self.head(self.norm(x))


class _BasicBlock(nn.Module):
    def __init__(self, channels_in: int, channels: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm2d(channels), nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels_in != channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels_in, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(out + self.shortcut(x))


class ResidualConvNet(nn.Module):
    """He et al. 2016, two stages."""

    def __init__(self, input_shape: Shape, classes: int):
        super().__init__()
        self.stem = nn.Conv2d(input_shape[0], 8, 3, 2, 1, bias=False)
        self.bn = nn.BatchNorm2d(8)
        self.layer1, self.layer2 = _BasicBlock(8, 8, 1), _BasicBlock(8, 16, 2)
        self.fc = nn.Linear(16, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer2(self.layer1(F.relu(self.bn(self.stem(x)))))
        return self.fc(F.adaptive_avg_pool2d(x, 1).flatten(1))


class SeparableConvNet(nn.Module):
    """Xception's order: depthwise and pointwise convolution with nothing between them, on purpose."""

    def __init__(self, input_shape: Shape, classes: int):
        super().__init__()

        def separable(a: int, b: int) -> nn.Sequential:
            return nn.Sequential(
                nn.Conv2d(a, a, 3, padding=1, groups=a, bias=False), nn.Conv2d(a, b, 1, bias=False),
                nn.BatchNorm2d(b), nn.ReLU(inplace=True),
            )  # fmt: skip

        self.stem = nn.Sequential(nn.Conv2d(input_shape[0], 12, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
        self.body = nn.Sequential(separable(12, 24), nn.MaxPool2d(2), separable(24, 48))
        self.head = nn.Linear(48, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(self.stem(x)).mean((2, 3)))


class InvertedResidualNet(nn.Module):
    """MobileNetV2: expand, depthwise, and a projection that is linear on purpose (Sandler et al. 2018)."""

    def __init__(self, input_shape: Shape, classes: int):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(input_shape[0], 12, 3, 2, 1, bias=False), nn.BatchNorm2d(12), nn.ReLU6())
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(12, 36, 1, bias=False), nn.BatchNorm2d(36), nn.ReLU6(),
                nn.Conv2d(36, 36, 3, padding=1, groups=36, bias=False), nn.BatchNorm2d(36), nn.ReLU6(),
                nn.Conv2d(36, 12, 1, bias=False), nn.BatchNorm2d(12),
            )
            for _ in range(2)
        )  # fmt: skip
        self.head = nn.Sequential(nn.Conv2d(12, 64, 1), nn.ReLU6(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.output = nn.Linear(64, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = x + block(x)
        return self.output(self.head(x))


class GroupNormNet(nn.Module):
    """Group normalization and SiLU, strided convolutions instead of pooling, dropout of whole channels."""

    def __init__(self, input_shape: Shape, classes: int):
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(input_shape[0], 16, 3, 2, 1), nn.GroupNorm(4, 16), nn.SiLU(),
            nn.Conv2d(16, 32, 3, 2, 1), nn.GroupNorm(4, 32), nn.SiLU(), nn.Dropout2d(0.1),
            nn.Flatten(), nn.LazyLinear(classes),
        )  # fmt: skip
        self.net(torch.zeros(1, *input_shape))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class AllConvNet(nn.Module):
    """A 1x1 convolution gives class maps, whose mean over positions is the output: the last operation is no layer."""

    def __init__(self, input_shape: Shape, classes: int):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(input_shape[0], 16, 3, 2, 1), nn.BatchNorm2d(16)
        self.conv2, self.bn2 = nn.Conv2d(16, 32, 3, 2, 1), nn.BatchNorm2d(32)
        self.maps = nn.Conv2d(32, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        return self.maps(F.relu(self.bn2(self.conv2(x)))).mean((2, 3))


class SqueezeExcitationNet(nn.Module):
    """Channels weighed by sigmoid gates of their own means (Hu et al. 2018)."""

    def __init__(self, input_shape: Shape, classes: int):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(input_shape[0], 16, 3, 2, 1), nn.BatchNorm2d(16)
        self.conv2, self.bn2 = nn.Conv2d(16, 32, 3, 2, 1), nn.BatchNorm2d(32)
        self.squeeze, self.excite = nn.Linear(32, 8), nn.Linear(8, 32)
        self.head = nn.Linear(32 * 4, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.relu(self.bn2(self.conv2(x)))
        gates = torch.sigmoid(self.excite(F.relu(self.squeeze(x.mean((2, 3))))))
        return self.head(F.adaptive_avg_pool2d(x * gates[:, :, None, None], 2).flatten(1))


class LogSoftmaxNet(SmallConvNet):
    """Log-probabilities, for the negative log-likelihood."""

    def forward(self, x: Tensor) -> Tensor:
        return F.log_softmax(super().forward(x), dim=1)


class HighwayMLP(nn.Module):
    """Gated layers g h + (1 - g) x, whose gates begin mostly closed (Srivastava et al. 2015)."""

    def __init__(self, input_shape: Shape, classes: int, width: int = 64, depth: int = 3):
        super().__init__()
        self.stem = nn.Linear(input_shape[0] * input_shape[1] * input_shape[2], width)
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.gates = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        for gate in self.gates:
            nn.init.constant_(gate.bias, -1.0)  # type: ignore[arg-type]
        self.output = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.stem(x.flatten(1)))
        for layer, gate in zip(self.layers, self.gates, strict=True):
            open_ = torch.sigmoid(gate(x))
            x = open_ * torch.tanh(layer(x)) + (1 - open_) * x
        return self.output(x)


class GatedLinearMLP(nn.Module):
    """SwiGLU blocks with root-mean-square normalization (Shazeer 2020)."""

    def __init__(self, input_shape: Shape, classes: int, width: int = 48, depth: int = 2):
        super().__init__()
        self.stem = nn.Linear(input_shape[0] * input_shape[1] * input_shape[2], width)
        self.norms = nn.ModuleList(nn.RMSNorm(width) for _ in range(depth))
        self.value = nn.ModuleList(nn.Linear(width, 96, bias=False) for _ in range(depth))
        self.gate = nn.ModuleList(nn.Linear(width, 96, bias=False) for _ in range(depth))
        self.back = nn.ModuleList(nn.Linear(96, width, bias=False) for _ in range(depth))
        self.norm, self.output = nn.RMSNorm(width), nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x.flatten(1))
        for norm, value, gate, back in zip(self.norms, self.value, self.gate, self.back, strict=True):
            y = norm(x)
            x = x + back(F.silu(gate(y)) * value(y))
        return self.output(self.norm(x))
