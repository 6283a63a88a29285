"""Sound loops: the twins of the faulty ones, and of many kinds, so that a finding on any is a false alarm."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from pipeline.data.sources import embedded
from tests.faults.loops.loop import Loop, Pair, Watcher


def digits(flat: bool = True) -> tuple[Pair, Pair]:
    """Digits centred and scaled by a constant: 1,200 to train, 400 to validate."""
    source = embedded.digits().train
    order = torch.randperm(len(source.labels), generator=torch.Generator().manual_seed(5))
    x = (source.pixels.float() - 4.9) / 6.0
    x, y = (x.flatten(1) if flat else x)[order], source.labels[order]
    return (x[:1200], y[:1200]), (x[1200:1600], y[1200:1600])


def clothes() -> tuple[Pair, Pair]:
    source = embedded.fashion_mnist_5k().train
    order = torch.randperm(len(source.labels), generator=torch.Generator().manual_seed(5))
    x, y = ((source.pixels.float() / 255 - 0.286) / 0.353)[order], source.labels[order]
    return (x[:1000], y[:1000]), (x[1000:1400], y[1000:1400])


class Digits(Loop):
    """A fully connected network with batch norm and dropout, Adam."""

    floor = 0.9

    def make_data(self) -> tuple[Pair, Pair]:
        return digits()

    def make_network(self) -> nn.Module:
        return nn.Sequential(
            nn.Linear(64, 96), nn.BatchNorm1d(96), nn.ReLU(), nn.Dropout(0.3), nn.Linear(96, 64), nn.ReLU(),
            nn.Linear(64, 10),
        )  # fmt: skip


class PlainDigits(Digits):
    """No batch norm, no dropout, plain gradient descent."""

    lr = 0.1
    epochs = 6

    def make_network(self) -> nn.Module:
        return nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))

    def make_optimizer(self) -> Optimizer:
        return torch.optim.SGD(self.network.parameters(), lr=self.lr)


class Clothes(Loop):
    """A small convolutional network, momentum."""

    floor = 0.68
    lr = 0.02

    def make_data(self) -> tuple[Pair, Pair]:
        return clothes()

    def make_network(self) -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(),
            nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16 * 49, 10),
        )  # fmt: skip

    def make_optimizer(self) -> Optimizer:
        return torch.optim.SGD(self.network.parameters(), lr=self.lr, momentum=0.9)


class Regression(Loop):
    """A real number from twelve: a smooth function with a little noise."""

    floor = 0.7
    classes = None
    epochs = 8

    def make_data(self) -> tuple[Pair, Pair]:
        generator = torch.Generator().manual_seed(3)
        x = torch.randn((1400, 12), generator=generator)
        y = torch.sin(x[:, 0]) + 0.7 * x[:, 1] - 0.5 * x[:, 2] * x[:, 3].tanh()
        y = y + 0.1 * torch.randn(1400, generator=generator)
        return (x[:1000], y[:1000]), (x[1000:], y[1000:])

    def make_network(self) -> nn.Module:
        return nn.Sequential(nn.Linear(12, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        return F.mse_loss(outputs.squeeze(1), labels)

    def score(self, outputs: Tensor, labels: Tensor) -> float:
        return float(1 - (outputs.squeeze(1) - labels).square().mean() / labels.var())


class TokenReader(nn.Module):
    """Tokens (N, T) embedded, through an LSTM, and its last state to two classes."""

    def __init__(self, batch_first: bool = True):
        super().__init__()
        self.embedding = nn.Embedding(20, 16)
        self.cells = nn.LSTM(16, 32, batch_first=batch_first)
        self.head = nn.Linear(32, 2)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.cells(self.embedding(tokens))[0].mean(1))


class Tokens(Loop):
    """Is there more of token 3 than of token 7? Integers in, as in a language model."""

    floor = 0.85
    classes = 2
    epochs = 6
    lr = 0.01

    def make_data(self) -> tuple[Pair, Pair]:
        x = torch.randint(0, 20, (1600, 12), generator=torch.Generator().manual_seed(4))
        x[:, :6] = torch.where(x[:, :6] < 10, 3, 7)
        x = x.gather(1, torch.rand(x.shape, generator=torch.Generator().manual_seed(5)).argsort(1))
        difference = (x == 3).sum(1) - (x == 7).sum(1)
        x, y = x[difference != 0], (difference > 0).long()[difference != 0]
        return (x[:1000], y[:1000]), (x[1000:], y[1000:])

    def make_network(self) -> nn.Module:
        return TokenReader()


class Accumulation(PlainDigits):
    """Four small batches for a step, each loss divided by four."""

    parts = 4
    batch_size = 64
    lr = 0.3
    epochs = 8

    def step(self, watcher: Watcher, x: Tensor, y: Tensor) -> None:
        with watcher.step():
            self.optimizer.zero_grad()
            for part, labels in zip(x.chunk(self.parts), y.chunk(self.parts), strict=True):
                outputs = self.network(part)
                loss = self.loss(outputs, labels)
                self.scaled(loss).backward()
                watcher.backward_done(loss, outputs, labels)
            self.optimizer.step()

    def scaled(self, loss: Tensor) -> Tensor:
        return loss / self.parts


class Clipped(Clothes):
    """Gradients clipped to a norm of 1."""

    most = 1.0

    def step(self, watcher: Watcher, x: Tensor, y: Tensor) -> None:
        with watcher.step():
            self.optimizer.zero_grad()
            outputs = self.network(x)
            loss = self.loss(outputs, y)
            loss.backward()
            watcher.backward_done(loss, outputs, y)
            nn.utils.clip_grad_norm_(self.network.parameters(), self.most)
            self.optimizer.step()


class Scaled(Clothes):
    """Loss scaling as for float16, with clipping of the unscaled gradients."""

    def __init__(self, seed: int):
        super().__init__(seed)
        self.scaler = torch.amp.GradScaler("cpu")

    def step(self, watcher: Watcher, x: Tensor, y: Tensor) -> None:
        with watcher.step():
            self.optimizer.zero_grad()
            outputs = self.network(x)
            loss = self.loss(outputs, y)
            self.scaler.scale(loss).backward()
            self.unscale()
            watcher.backward_done(loss, outputs, y)
            nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
            self.scaler.step(self.optimizer)
            self.scaler.update()

    def unscale(self) -> None:
        self.scaler.unscale_(self.optimizer)


class OneCycle(PlainDigits):
    """A one-cycle schedule moved by step, with a warm-up peak."""

    lr = 0.3

    def make_scheduler(self) -> Any:
        steps = self.epochs * self.steps_per_epoch
        return torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer, max_lr=self.lr, total_steps=steps, cycle_momentum=False
        )

    def after_step(self) -> None:
        self.scheduler.step()


class StepDecay(Digits):
    """The rate is halved every two epochs."""

    def make_scheduler(self) -> Any:
        return torch.optim.lr_scheduler.StepLR(self.optimizer, step_size=2, gamma=0.5)

    def after_epoch(self) -> None:
        self.scheduler.step()


class Averaged(Digits):
    """Validation with an average of the weights, whose memory is about ten steps."""

    decay = 0.9
    epochs = 5

    def make_scheduler(self) -> Any:
        self.average = copy.deepcopy(self.network)
        return None

    def after_step(self) -> None:
        with torch.no_grad():
            for mean, value in zip(self.average.parameters(), self.network.parameters(), strict=True):
                mean.lerp_(value, 1 - self.decay)
            for mean, value in zip(self.average.buffers(), self.network.buffers(), strict=True):
                mean.copy_(value)

    def evaluated(self) -> nn.Module:
        self.average.eval()
        return self.average


class FineTuned(Digits):
    """A head for a hundred classes is replaced before the optimizer is made."""

    def make_network(self) -> nn.Module:
        network = nn.Sequential(nn.Linear(64, 96), nn.ReLU(), nn.Linear(96, 64), nn.ReLU(), nn.Linear(64, 100))
        network[4] = nn.Linear(64, 10)
        return network


class Distilled(Digits):
    """A second network, the teacher, only gives targets and is never trained."""

    epochs = 5

    def make_scheduler(self) -> Any:
        self.teacher = nn.Linear(64, 10).requires_grad_(False)
        x, y = self.training_set
        targets = F.one_hot(y, 10).float()
        self.teacher.weight.copy_(torch.linalg.lstsq(x, targets).solution.T * 5)
        return None

    def step(self, watcher: Watcher, x: Tensor, y: Tensor) -> None:
        with watcher.step():
            self.optimizer.zero_grad()
            outputs = self.network(x)
            soft = F.kl_div(F.log_softmax(outputs, 1), F.softmax(self.teacher(x), 1), reduction="batchmean")
            loss = self.loss(outputs, y) + 0.1 * soft
            loss.backward()
            watcher.backward_done(loss, outputs, y)
            self.optimizer.step()


class Augmented(Loop):
    """Clothes mirrored at random, labels as they are; a convolutional network with batch norm."""

    floor = 0.68

    def make_data(self) -> tuple[Pair, Pair]:
        return clothes()

    def make_network(self) -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(1, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, 1), nn.BatchNorm2d(16),
            nn.ReLU(), nn.Flatten(), nn.Linear(16 * 49, 10),
        )  # fmt: skip

    def batches(self):  # type: ignore[no-untyped-def]
        for x, y in super().batches():
            yield self.augment(x, y)

    def augment(self, x: Tensor, y: Tensor) -> Pair:
        mirrored = torch.rand(len(x), generator=self.order) < 0.5
        return torch.where(mirrored[:, None, None, None], x.flip(3), x), y


class LastLayerOnly(Digits):
    """Random features, frozen on purpose with `requires_grad_(False)` and left out of the optimizer; a wide head."""

    epochs = 8
    lr = 0.01
    floor = 0.85

    def make_network(self) -> nn.Module:
        network = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 10))
        network[0].requires_grad_(False)
        return network

    def make_optimizer(self) -> Optimizer:
        return torch.optim.Adam(self.network[2].parameters(), lr=self.lr)  # type: ignore[index]


class Scores(Clothes):
    """One against the rest: ten binary losses with logits, averaged."""

    lr = 0.05
    epochs = 6

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        return (
            F.binary_cross_entropy_with_logits(outputs, F.one_hot(labels, 10).float(), reduction="none").sum(1).mean()
        )
