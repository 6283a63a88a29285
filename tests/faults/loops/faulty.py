"""Loops with one mistake of the loop itself each. The class that a loop derives from is its sound twin."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from tests.faults.loops.loop import NOTHING_MOVES, TOO_FAST, Watcher
from tests.faults.loops.sound import (
    Accumulation,
    Averaged,
    Clipped,
    Clothes,
    Digits,
    Distilled,
    FineTuned,
    OneCycle,
    PlainDigits,
    Scaled,
    StepDecay,
    Tokens,
)


class ZeroGradMissing(PlainDigits):
    """`zero_grad` is never called."""

    expect = frozenset({"gradients_not_cleared"})
    also_right = TOO_FAST

    def step(self, watcher: Watcher, x: Tensor, y: Tensor) -> None:
        with watcher.step():
            outputs = self.network(x)
            loss = self.loss(outputs, y)
            loss.backward()
            watcher.backward_done(loss, outputs, y)
            self.optimizer.step()


class ZeroGradMissingAdam(Tokens):
    """`zero_grad` only once an epoch, beside `train`."""

    expect = frozenset({"gradients_not_cleared"})
    also_right = TOO_FAST
    harmless = True

    def before_training(self) -> None:
        self.network.train()
        self.optimizer.zero_grad()

    def step(self, watcher: Watcher, x: Tensor, y: Tensor) -> None:
        with watcher.step():
            outputs = self.network(x)
            loss = self.loss(outputs, y)
            loss.backward()
            watcher.backward_done(loss, outputs, y)
            self.optimizer.step()


class ZeroGradBeforeStep(Clothes):
    """`zero_grad` between `backward` and the step."""

    expect = frozenset({"gradients_cleared_early"})
    also_right = NOTHING_MOVES

    def step(self, watcher: Watcher, x: Tensor, y: Tensor) -> None:
        with watcher.step():
            outputs = self.network(x)
            loss = self.loss(outputs, y)
            loss.backward()
            watcher.backward_done(loss, outputs, y)
            self.optimizer.zero_grad()
            self.optimizer.step()


class StepBeforeBackward(Digits):
    """The step comes first, with the gradients that were just cleared."""

    expect = frozenset({"gradients_cleared_early", "rate_too_low", "update_ratio_low"})
    also_right = NOTHING_MOVES

    def step(self, watcher: Watcher, x: Tensor, y: Tensor) -> None:
        with watcher.step():
            self.optimizer.zero_grad()
            outputs = self.network(x)
            loss = self.loss(outputs, y)
            self.optimizer.step()
            loss.backward()
            watcher.backward_done(loss, outputs, y)


class EvalWhileTraining(Digits):
    """The network stays in evaluation mode: no dropout, and batch norm's statistics are those of its start."""

    expect = frozenset({"wrong_mode"})
    also_right = frozenset({"frozen_batchnorm", "train_eval_mismatch"})
    harmless = True

    def before_training(self) -> None:
        self.network.eval()


class TrainForgotten(Digits):
    """`train` is called once, before the first epoch; validation then leaves the network in evaluation mode."""

    expect = frozenset({"wrong_mode"})
    also_right = frozenset({"frozen_batchnorm", "train_eval_mismatch"})
    harmless = True

    def before_training(self) -> None:
        pass


class ValidatedInTraining(Digits):
    """Validation with dropout, and with the statistics of its own batch."""

    expect = frozenset({"wrong_mode"})
    harmless = True

    def before_validation(self) -> None:
        pass


class DetachedLoss(Digits):
    """The loss is of detached outputs, and is told to require a gradient so that `backward` runs."""

    expect = frozenset({"unreachable_parameters"})
    also_right = NOTHING_MOVES

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(outputs.detach(), labels).requires_grad_()


class OptimizerBeforeHead(FineTuned):
    """The head, and the layer before it, are replaced after the optimizer was made."""

    expect = frozenset({"optimizer_parameters"})
    also_right = frozenset({"frozen_weights"})
    harmless = True

    def make_scheduler(self) -> Any:
        self.network[2], self.network[4] = nn.Linear(96, 64), nn.Linear(64, 10)  # type: ignore[index]
        return None


class OptimizerOfTheTeacher(Distilled):
    """The optimizer holds another network's parameters."""

    expect = frozenset({"optimizer_parameters"})
    also_right = NOTHING_MOVES | {"frozen_weights"}

    def make_optimizer(self) -> Optimizer:
        return torch.optim.Adam(copy.deepcopy(self.network).parameters(), lr=self.lr)


class DecayByStep(StepDecay):
    """The schedule of epochs moves by step: after a hundred steps nothing is left of the rate."""

    expect = frozenset({"rate_vanishes", "schedule_length"})
    also_right = NOTHING_MOVES

    def after_step(self) -> None:
        self.scheduler.step()

    def after_epoch(self) -> None:
        pass


class OneCycleByEpoch(OneCycle):
    """The schedule of steps moves by epoch: the rate stays where the warm-up begins."""

    expect = frozenset({"schedule_length", "rate_too_low"})
    also_right = NOTHING_MOVES
    harmless = True

    def after_step(self) -> None:
        pass

    def after_epoch(self) -> None:
        self.scheduler.step()


class RateZero(Clothes):
    """A rate of 0, as of a schedule that was never started."""

    expect = frozenset({"rate_too_low", "update_ratio_low"})
    also_right = NOTHING_MOVES
    lr = 0.0


class RateTooHigh(PlainDigits):
    """A rate of 10."""

    expect = frozenset({"rate_too_high", "loss_exploding", "nonfinite"})
    also_right = TOO_FAST | {"dead_units"}
    lr = 10.0


class ClippedToNothing(Clipped):
    """Clipped to a norm of 1e-9."""

    expect = frozenset({"gradients_clipped", "rate_too_low", "update_ratio_low"})
    also_right = NOTHING_MOVES
    most = 1e-9


class UnscaleForgotten(Scaled):
    """Clipped before unscaling: the norm of 1 is that of gradients times 65536."""

    expect = frozenset({"gradients_clipped", "rate_too_low", "update_ratio_low"})
    also_right = NOTHING_MOVES

    def unscale(self) -> None:
        pass


class ScaledStep(Scaled):
    """The loss is scaled and the step takes the gradients as they are."""

    expect = TOO_FAST | {"loss_reduction"}
    also_right = frozenset({"dead_units"})

    def step(self, watcher: Watcher, x: Tensor, y: Tensor) -> None:
        with watcher.step():
            self.optimizer.zero_grad()
            outputs = self.network(x)
            loss = self.loss(outputs, y)
            self.scaler.scale(loss).backward()
            watcher.backward_done(loss, outputs, y)
            self.optimizer.step()


class AccumulatedSum(Accumulation):
    """The losses of 16 parts are not divided, with a rate for their mean."""

    expect = TOO_FAST | {"loss_reduction"}
    also_right = frozenset({"dead_units"})
    parts = 16

    def scaled(self, loss: Tensor) -> Tensor:
        return loss


class GraphKept(Digits):
    """The losses of an epoch are added up as tensors with their graphs: memory grows, the numbers are right."""

    expect = frozenset({"memory"})
    harmless = True
    visible = False
    total: Tensor | float = 0.0

    def before_training(self) -> None:
        self.network.train()
        self.total = 0.0

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        loss = super().loss(outputs, labels)
        self.total = self.total + loss if outputs.requires_grad else self.total
        return loss


class AverageOfThousands(Averaged):
    """Validation with an average whose memory is far longer than the run."""

    expect = frozenset({"train_eval_mismatch"})
    decay = 0.9999
