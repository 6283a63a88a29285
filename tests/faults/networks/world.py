"""Networks, losses and optimizers as in public reports of trainings that go wrong, with the sound ones."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.faults.networks.healthy import Shape


class KeepsGradients(torch.optim.SGD):
    """`zero_grad` does nothing (silero-vad PR #699)."""

    def zero_grad(self, set_to_none: bool = True) -> None:
        pass


class AdamKeepsGradients(torch.optim.Adam):
    """`zero_grad` does nothing."""

    def zero_grad(self, set_to_none: bool = True) -> None:
        pass


def squared_broadcast(logits: Tensor, labels: Tensor) -> Tensor:
    """(N, 1) against (N,) (TALENT PR #92)."""
    return F.mse_loss(torch.sigmoid(logits[:, 1:] - logits[:, :1]), labels.float())


def squared(logits: Tensor, labels: Tensor) -> Tensor:
    return F.mse_loss(torch.sigmoid(logits[:, 1] - logits[:, 0]), labels.float())


def hinge_broadcast(logits: Tensor, labels: Tensor) -> Tensor:
    return F.relu(1 - (labels.float() * 2 - 1) * (logits[:, 1:] - logits[:, :1])).mean()


def hinge(logits: Tensor, labels: Tensor) -> Tensor:
    return F.relu(1 - (labels.float() * 2 - 1) * (logits[:, 1] - logits[:, 0])).mean()


class FrozenBackbone(nn.Module):
    """A frozen backbone with batch norm whose statistics move (lightly #1438)."""

    def __init__(self, input_shape: Shape, classes: int):
        super().__init__()
        channels, height, width = input_shape
        self.backbone = nn.Sequential(
            nn.Conv2d(channels, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        )  # fmt: skip
        self.backbone.requires_grad_(False)
        self.head = nn.Linear(64 * (height // 4) * (width // 4), classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.backbone(x))


class FrozenBackboneAtRest(FrozenBackbone):
    """The report's cure: the backbone stays in evaluation mode."""

    def train(self, mode: bool = True) -> FrozenBackboneAtRest:
        super().train(mode)
        self.backbone.eval()
        return self


class RowLSTM(nn.Module):
    """A long short-term memory over the rows, whose rate is left at a tenth of what it needs."""

    def __init__(self, input_shape: Shape, classes: int):
        super().__init__()
        self.cells = nn.LSTM(input_shape[0] * input_shape[2], 32, batch_first=True)
        self.head = nn.Linear(32, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.cells(x.permute(0, 2, 1, 3).flatten(2))[0][:, -1])


class DropsInEvaluation(nn.Module):
    """`F.dropout(x, 0.5, True)`."""

    def __init__(self, input_shape: Shape, classes: int):
        super().__init__()
        self.first = nn.Linear(input_shape[0] * input_shape[1] * input_shape[2], 64)
        self.head = nn.Linear(64, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.dropout(F.relu(self.first(x.flatten(1))), 0.5, True))
