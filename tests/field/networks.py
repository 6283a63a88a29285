"""Networks, losses and data sets of users, as they come."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import Dataset

Shape = tuple[int, int, int]


class Drawn(Dataset[tuple[Tensor, int]]):
    """Three classes of bars on noise, drawn when they are asked for."""

    classes = ("left", "middle", "right")

    def __init__(self, n: int):
        self.n = n

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        if index >= self.n:
            raise IndexError(index)
        image = 0.3 * torch.rand(1, 8, 8, generator=torch.Generator().manual_seed(index))
        label = index % 3
        image[:, :, 3 * label : 3 * label + 2] += 0.6
        return image, label


def weighted(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy in which the second class counts 50 times as much."""
    return F.cross_entropy(logits, labels, weight=torch.tensor([1.0, 50.0], device=logits.device))


def small_body(channels: int) -> nn.Sequential:
    return nn.Sequential(
        *(nn.Conv2d(channels, 16, 3, padding=1), nn.GroupNorm(4, 16), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(16, 32, 3, padding=1), nn.GroupNorm(4, 32), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten()),
    )


class Normed(nn.Module):
    """A network with norms of its own, which does not ask for `block`."""

    def __init__(self, input_shape: Shape, classes: int):
        super().__init__()
        self.body = small_body(input_shape[0])
        self.head = nn.Linear(128, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))


class FrozenBody(Normed):
    """The body is frozen by hand, as for a linear probe."""

    def __init__(self, input_shape: Shape, classes: int):
        super().__init__(input_shape, classes)
        self.body.requires_grad_(False)


class DropsAlways(Normed):
    """Drops in evaluation as well."""

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.dropout(self.body(x), 0.5, True))


class Lazy(nn.Module):
    def __init__(self, classes: int):
        super().__init__()
        self.layers = nn.Sequential(
            *(nn.LazyConv2d(16, 3, padding=1), nn.LazyBatchNorm2d(), nn.ReLU(), nn.Flatten(), nn.LazyLinear(classes))
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class Complex(nn.Module):
    """A filter in the frequency domain, with complex weights."""

    def __init__(self, input_shape: Shape, classes: int):
        super().__init__()
        c, h, w = input_shape
        self.filter = nn.Parameter(torch.randn(c, h, w // 2 + 1, dtype=torch.complex64) * 0.2 + 1)
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(c * h * w, 64), nn.ReLU(), nn.Linear(64, classes))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.fft.irfft2(torch.fft.rfft2(x) * self.filter, s=x.shape[-2:]))


class Rows(nn.Module):
    """An LSTM over the rows of an image."""

    def __init__(self, input_shape: Shape, classes: int):
        super().__init__()
        self.cells = nn.LSTM(input_shape[0] * input_shape[2], 32, batch_first=True)
        self.head = nn.Linear(32, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.cells(x.transpose(1, 2).flatten(2))[0][:, -1])


class Cosine(nn.Module):
    """Logits are 16 times the cosine to one direction for each class."""

    def __init__(self, input_shape: Shape, classes: int, scale: float = 16.0):
        super().__init__()
        self.body, self.scale = small_body(input_shape[0]), scale
        self.directions = nn.Parameter(torch.randn(classes, 128))

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * F.normalize(self.body(x), dim=1) @ F.normalize(self.directions, dim=1).T


class InADictionary(Normed):
    def forward(self, x: Tensor) -> dict[str, Tensor]:  # type: ignore[override]
        features = self.body(x)
        return {"features": features, "logits": self.head(features)}


class RaisesInForward(Normed):
    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x)[:, :100])


def by_name(input_shape: Shape, classes: int, name: str, **kwargs: Any) -> nn.Module:
    """Hand what is left over to timm, as many factories do."""
    import timm

    return timm.create_model(name, in_chans=input_shape[0], num_classes=classes, **kwargs)


def resnet18(input_shape: Shape, classes: int) -> nn.Module:
    import timm

    return timm.create_model("resnet18", in_chans=input_shape[0], num_classes=classes)
