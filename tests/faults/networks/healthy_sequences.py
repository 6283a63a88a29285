"""Sound networks that treat an image as a sequence or a set, branch, or share weights on purpose."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Shape = tuple[int, int, int]


def patches(x: Tensor, side: int) -> Tensor:
    """(N, C, H, W) -> (N, patches, C side side)."""
    return F.unfold(x, side, stride=side).transpose(1, 2)


class _EncoderBlock(nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm1(x)
        x = x + self.attention(y, y, y, need_weights=False)[0]
        return x + self.mlp(self.norm2(x))


class VisionTransformer(nn.Module):
    """Dosovitskiy et al. 2021 in small; learned positions and a class token."""

    def __init__(self, input_shape: Shape, classes: int, patch: int = 7, width: int = 48):
        super().__init__()
        channels, height, breadth = input_shape
        self.patch = patch
        self.embed = nn.Linear(channels * patch * patch, width)
        self.token = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = nn.Parameter(0.02 * torch.randn(1, 1 + (height // patch) * (breadth // patch), width))
        self.blocks = nn.Sequential(_EncoderBlock(width, 4), _EncoderBlock(width, 4))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(patches(x, self.patch))
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1) + self.positions
        return self.head(self.norm(self.blocks(x)[:, 0]))


class FixedPositionTransformer(nn.Module):
    """The same with sines as positions, which are a constant (a buffer), and the mean over patches."""

    positions: Tensor

    def __init__(self, input_shape: Shape, classes: int, patch: int = 7, width: int = 48):
        super().__init__()
        channels, height, breadth = input_shape
        count, self.patch = (height // patch) * (breadth // patch), patch
        angle = torch.arange(count)[:, None] * torch.exp(-math.log(1e4) * torch.arange(0, width, 2) / width)
        self.register_buffer("positions", torch.stack([angle.sin(), angle.cos()], 2).flatten(1))
        self.embed = nn.Linear(channels * patch * patch, width)
        self.block, self.norm = _EncoderBlock(width, 4), nn.LayerNorm(width)
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(patches(x, self.patch)) + self.positions
        return self.head(self.norm(self.block(x)).mean(1))


class RandomFeaturesNet(nn.Module):
    """A fixed random projection with cosines (Rahimi & Recht 2007) beside a learned branch."""

    directions: Tensor

    def __init__(self, input_shape: Shape, classes: int):
        super().__init__()
        size = input_shape[0] * input_shape[1] * input_shape[2]
        self.register_buffer("directions", torch.randn(size, 64) / math.sqrt(size))
        self.learned, self.output = nn.Linear(size, 64), nn.Linear(128, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        return self.output(torch.cat([torch.cos(x @ self.directions), F.relu(self.learned(x))], 1))


class Mixer(nn.Module):
    """Linear layers across patches and across channels by turns (Tolstikhin et al. 2021): many transposes, no leak."""

    def __init__(self, input_shape: Shape, classes: int, patch: int = 7, width: int = 32):
        super().__init__()
        channels, height, breadth = input_shape
        count, self.patch = (height // patch) * (breadth // patch), patch
        self.embed = nn.Linear(channels * patch * patch, width)
        self.norm1, self.norm2, self.norm3 = nn.LayerNorm(width), nn.LayerNorm(width), nn.LayerNorm(width)
        self.across_patches = nn.Sequential(nn.Linear(count, 32), nn.GELU(), nn.Linear(32, count))
        self.across_channels = nn.Sequential(nn.Linear(width, 64), nn.GELU(), nn.Linear(64, width))
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(patches(x, self.patch))
        x = x + self.across_patches(self.norm1(x).transpose(1, 2)).transpose(1, 2)
        x = x + self.across_channels(self.norm2(x))
        return self.head(self.norm3(x).mean(1))


class RowLSTM(nn.Module):
    """The rows of an image as a sequence: sigmoid and tanh gates inside."""

    def __init__(self, input_shape: Shape, classes: int):
        super().__init__()
        self.lstm = nn.LSTM(input_shape[0] * input_shape[2], 48, batch_first=True)
        self.fc = nn.Linear(48, classes)

    def forward(self, x: Tensor) -> Tensor:
        rows = x.transpose(1, 2).flatten(2)
        return self.fc(self.lstm(rows)[0][:, -1])


class DenselyConnected(nn.Module):
    """Each layer sees all before it (Huang et al. 2017)."""

    def __init__(self, input_shape: Shape, classes: int, growth: int = 8):
        super().__init__()
        self.stem = nn.Conv2d(input_shape[0], 8, 3, 2, 1)
        self.layers = nn.ModuleList(
            nn.Sequential(nn.BatchNorm2d(8 + i * growth), nn.ReLU(), nn.Conv2d(8 + i * growth, growth, 3, 1, 1))
            for i in range(3)
        )
        self.norm, self.fc = nn.BatchNorm2d(8 + 3 * growth), nn.Linear((8 + 3 * growth) * 4, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for layer in self.layers:
            x = torch.cat([x, layer(x)], 1)
        return self.fc(F.adaptive_avg_pool2d(F.relu(self.norm(x)), 2).flatten(1))


class Branches(nn.Module):
    """Convolutions of three sizes side by side (Szegedy et al. 2015)."""

    def __init__(self, input_shape: Shape, classes: int):
        super().__init__()
        sizes = (1, 3, 5)
        self.first = nn.ModuleList(nn.Conv2d(input_shape[0], 6, k, 2, k // 2) for k in sizes)
        self.second = nn.ModuleList(nn.Conv2d(18, 10, k, 2, k // 2) for k in sizes)
        self.norm1, self.norm2 = nn.BatchNorm2d(18), nn.BatchNorm2d(30)
        self.fc = nn.Linear(30 * 4, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm1(torch.cat([conv(x) for conv in self.first], 1)))
        x = F.relu(self.norm2(torch.cat([conv(x) for conv in self.second], 1)))
        return self.fc(F.adaptive_max_pool2d(x, 2).flatten(1))


class RecurrentConvNet(nn.Module):
    """One convolution applied three times: weights shared on purpose (Liang & Hu 2015)."""

    def __init__(self, input_shape: Shape, classes: int):
        super().__init__()
        self.stem, self.again = nn.Conv2d(input_shape[0], 16, 3, 2, 1), nn.Conv2d(16, 16, 3, 1, 1)
        self.norms = nn.ModuleList(nn.BatchNorm2d(16) for _ in range(3))
        self.fc = nn.Linear(16 * 16, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        for norm in self.norms:
            x = F.relu(norm(x + self.again(x)))
        return self.fc(F.adaptive_avg_pool2d(x, 4).flatten(1))


class CosineClassifier(nn.Module):
    """Logits are cosines between features and class vectors, times a learned scale that begins at 5."""

    def __init__(self, input_shape: Shape, classes: int):
        super().__init__()
        size = input_shape[0] * input_shape[1] * input_shape[2]
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(size, 64), nn.ReLU(), nn.Linear(64, 32))
        self.vectors = nn.Parameter(torch.randn(classes, 32))
        self.scale = nn.Parameter(torch.tensor(5.0))

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * F.linear(F.normalize(self.body(x), dim=1), F.normalize(self.vectors, dim=1))


class StochasticDepth(nn.Module):
    """Residual blocks that are skipped at random, and functional dropout, both in training only (Huang et al. 2016)."""

    def __init__(self, input_shape: Shape, classes: int, width: int = 64, keep: float = 0.8):
        super().__init__()
        self.keep = keep
        self.stem = nn.Linear(input_shape[0] * input_shape[1] * input_shape[2], width)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))
            for _ in range(3)
        )
        self.output = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x.flatten(1))
        for block in self.blocks:
            there = torch.rand(len(x), 1, device=x.device) < self.keep if self.training else self.keep
            x = x + block(x) * there
        return self.output(F.dropout(F.relu(x), 0.1, self.training))
