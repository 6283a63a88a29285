"""A training loop as users write it, watched from outside. Each mistake is a class that overrides one method of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

Pair = tuple[Tensor, Tensor]
NOTHING_MOVES = frozenset({"rate_too_low", "update_ratio_low", "undertrained", "cannot_overfit", "loss_plateau"})
TOO_FAST = frozenset({"rate_too_high", "loss_exploding", "nonfinite", "oscillating_loss", "update_ratio_high"})
"""What else may be said of a loop in which nothing moves, or everything does."""


class Watcher(Protocol):
    """What a loop calls of `pipeline.watch`."""

    def step(self) -> AbstractContextManager[Any]: ...

    def backward_done(self, loss: Tensor, outputs: Tensor, labels: Tensor) -> None: ...

    def epoch(self, **values: float) -> None: ...


class NoWatcher:
    """Watches nothing: for a run without checks."""

    def step(self) -> AbstractContextManager[Any]:
        return nullcontext()

    def backward_done(self, loss: Tensor, outputs: Tensor, labels: Tensor) -> None:
        pass

    def epoch(self, **values: float) -> None:
        pass


class Loop:
    """Build data, network and optimizer by the seed, and train. Class variables say what is to be found."""

    expect: ClassVar[frozenset[str]] = frozenset()
    """Checks of which any is right as the first finding; none: the loop is sound."""
    also_right: ClassVar[frozenset[str]] = frozenset()
    harmless: ClassVar[bool] = False
    visible: ClassVar[bool] = True
    """Whether a watcher can see the mistake at all; if not, the loop is run and not counted."""
    floor: ClassVar[float] = 0.8
    """Score that a sound loop reaches: validation accuracy, or the share of the variance that is explained."""
    epochs: ClassVar[int] = 4
    batch_size: ClassVar[int] = 32
    classes: ClassVar[int | None] = 10
    lr: ClassVar[float] = 0.003

    def __init__(self, seed: int):
        torch.manual_seed(seed)
        self.order = torch.Generator().manual_seed(seed)
        self.training_set, self.validation_set = self.make_data()
        self.network = self.make_network()
        self.optimizer = self.make_optimizer()
        self.scheduler = self.make_scheduler()

    def make_data(self) -> tuple[Pair, Pair]:
        raise NotImplementedError

    def make_network(self) -> nn.Module:
        raise NotImplementedError

    def make_optimizer(self) -> Optimizer:
        return torch.optim.Adam(self.network.parameters(), lr=self.lr)

    def make_scheduler(self) -> Any:
        return None

    @property
    def steps_per_epoch(self) -> int:
        return len(self.training_set[1]) // self.batch_size

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(outputs, labels)

    def batches(self) -> Iterator[Pair]:
        inputs, labels = self.training_set
        permutation = torch.randperm(len(labels), generator=self.order)
        for index in permutation[: self.steps_per_epoch * self.batch_size].split(self.batch_size):
            yield inputs[index], labels[index]

    def step(self, watcher: Watcher, x: Tensor, y: Tensor) -> None:
        with watcher.step():
            self.optimizer.zero_grad()
            outputs = self.network(x)
            loss = self.loss(outputs, y)
            loss.backward()
            watcher.backward_done(loss, outputs, y)
            self.optimizer.step()
            self.after_step()

    def after_step(self) -> None:
        """Move what moves by step: a schedule, an average of the weights."""

    def after_epoch(self) -> None:
        """Move what moves by epoch."""

    def before_training(self) -> None:
        self.network.train()

    def before_validation(self) -> None:
        self.network.eval()

    def evaluated(self) -> nn.Module:
        return self.network

    def validate(self) -> tuple[float, float]:
        """Return the loss and the score on the validation split."""
        inputs, labels = self.validation_set
        self.before_validation()
        with torch.no_grad():
            outputs = self.evaluated()(inputs)
            return float(self.loss(outputs, labels)), self.score(outputs, labels)

    def score(self, outputs: Tensor, labels: Tensor) -> float:
        return float((outputs.argmax(1) == labels).float().mean())

    def train(self, watcher: Watcher) -> float:
        """Train for all epochs and return the last score."""
        score = 0.0
        for _ in range(self.epochs):
            self.before_training()
            for x, y in self.batches():
                self.step(watcher, x, y)
            self.after_epoch()
            loss, score = self.validate()
            if self.classes is None:
                watcher.epoch(val_loss=loss)
            else:
                watcher.epoch(val_loss=loss, val_accuracy=score)
        return score
