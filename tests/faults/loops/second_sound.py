"""More sound loops, written without a look at the rules: other optimizers, schedules, modes and ways to make a step."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from tests.faults.loops.loop import Loop, Pair, Watcher
from tests.faults.loops.sound import Clothes, Digits, PlainDigits, clothes


class SmallSteps(Digits):
    """Adam with a small rate for thirty epochs, in float32."""

    floor = 0.8
    lr = 0.0001
    epochs = 30

    def make_network(self) -> nn.Module:
        return nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))


class TwoOptimizers(Clothes):
    """Momentum for the convolutions and Adam for the head."""

    def make_optimizer(self) -> Any:
        body, head = self.network[:-1], self.network[-1]  # type: ignore[index]
        return [
            torch.optim.SGD(body.parameters(), lr=self.lr, momentum=0.9),
            torch.optim.Adam(head.parameters(), lr=0.002),
        ]

    def step(self, watcher: Watcher, x: Tensor, y: Tensor) -> None:
        with watcher.step():
            self.clear()
            outputs = self.network(x)
            loss = self.loss(outputs, y)
            loss.backward()
            watcher.backward_done(loss, outputs, y)
            for optimizer in self.optimizer:  # type: ignore[attr-defined]
                optimizer.step()

    def clear(self) -> None:
        for optimizer in self.optimizer:  # type: ignore[attr-defined]
            optimizer.zero_grad()


class AccumulationByBatch(PlainDigits):
    """An update after every fourth batch, and after the last of the epoch, which is a short one."""

    parts = 4
    lr = 0.3
    epochs = 8

    @property
    def steps_per_epoch(self) -> int:
        return math.ceil(len(self.training_set[1]) / self.batch_size)

    def batches(self) -> Iterator[Pair]:
        x, y = self.training_set
        for index in torch.randperm(len(y), generator=self.order).split(self.batch_size):
            yield x[index], y[index]

    def before_training(self) -> None:
        self.network.train()
        self.done = 0

    def step(self, watcher: Watcher, x: Tensor, y: Tensor) -> None:
        with watcher.step():
            if self.is_begun_anew():
                self.optimizer.zero_grad()
            outputs = self.network(x)
            loss = self.loss(outputs, y)
            self.scaled(loss).backward()
            watcher.backward_done(loss, outputs, y)
            self.done += 1
            if self.is_complete():
                self.optimizer.step()

    def scaled(self, loss: Tensor) -> Tensor:
        return loss / self.parts

    def is_begun_anew(self) -> bool:
        return self.done % self.parts == 0

    def is_complete(self) -> bool:
        return self.done % self.parts == 0 or self.done == self.steps_per_epoch


class MidEpochValidation(Digits):
    """Validation every twelve steps, and back to training mode."""

    taken = 0

    def step(self, watcher: Watcher, x: Tensor, y: Tensor) -> None:
        super().step(watcher, x, y)
        self.taken += 1
        if self.taken % 12 == 0:
            self.validate()
            self.after_validation()

    def after_validation(self) -> None:
        self.network.train()


class FrozenBackbone(Digits):
    """A backbone learned before, frozen with its batch norm in evaluation mode, under a new head."""

    lr = 0.01
    epochs = 5

    def make_network(self) -> nn.Module:
        body = nn.Sequential(nn.Linear(64, 96), nn.BatchNorm1d(96), nn.ReLU(), nn.Linear(96, 48), nn.ReLU())
        head, (x, y) = nn.Linear(48, 10), self.training_set
        optimizer = torch.optim.Adam([*body.parameters(), *head.parameters()], lr=0.003)
        for index in torch.randperm(len(y), generator=self.order).split(32):
            optimizer.zero_grad()
            F.cross_entropy(head(body(x[index])), y[index]).backward()
            optimizer.step()
        optimizer.zero_grad()
        return nn.Sequential(body.requires_grad_(False), nn.Linear(48, 10))

    def make_optimizer(self) -> Optimizer:
        return torch.optim.Adam(self.network[1].parameters(), lr=self.lr)  # type: ignore[index]

    def before_training(self) -> None:
        self.network.train()
        self.network[0].eval()  # type: ignore[index]


class GradualUnfreezing(FrozenBackbone):
    """The backbone is trained as well from the third epoch on, with a tenth of the rate."""

    epochs = 6
    ended = 0

    def after_epoch(self) -> None:
        self.ended += 1
        if self.ended == 2:
            self.network[0].requires_grad_(True)  # type: ignore[index]
            self.add_backbone()

    def add_backbone(self) -> None:
        self.optimizer.add_param_group({"params": list(self.network[0].parameters()), "lr": self.lr / 10})  # type: ignore[index]


class WarmupAndCosine(Clothes):
    """AdamW, a warm-up of thirty steps and half a cosine moved by step, gradients clipped to 1."""

    lr = 0.004
    epochs = 5

    def make_optimizer(self) -> Optimizer:
        return torch.optim.AdamW(self.network.parameters(), lr=self.lr)

    def make_scheduler(self) -> Any:
        total = self.epochs * self.steps_per_epoch

        def factor(move: int) -> float:
            return max(0.001, move / 30) if move < 30 else 0.5 * (1 + math.cos(math.pi * min(1.0, move / total)))

        return torch.optim.lr_scheduler.LambdaLR(self.optimizer, factor)

    def step(self, watcher: Watcher, x: Tensor, y: Tensor) -> None:
        with watcher.step():
            self.optimizer.zero_grad()
            outputs = self.network(x)
            loss = self.loss(outputs, y)
            loss.backward()
            watcher.backward_done(loss, outputs, y)
            nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
            self.optimizer.step()
            self.move()

    def move(self) -> None:
        self.scheduler.step()


class PlateauOnLoss(Digits):
    """The rate is halved when the validation loss has not fallen for two epochs."""

    epochs = 10

    def make_scheduler(self) -> Any:
        return torch.optim.lr_scheduler.ReduceLROnPlateau(self.optimizer, factor=0.5, patience=2)

    def validate(self) -> tuple[float, float]:
        loss, score = super().validate()
        self.move(loss, score)
        return loss, score

    def move(self, loss: float, score: float) -> None:
        self.scheduler.step(loss)


class NormClothes(Loop):
    """A convolutional network with batch norm, Adam."""

    floor = 0.68

    def make_data(self) -> tuple[Pair, Pair]:
        return clothes()

    def make_network(self) -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(8, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten(),
            nn.Linear(256, 10),
        )  # fmt: skip


class AveragedClothes(NormClothes):
    """Validation with torch's own average of weights and statistics, whose memory is about twenty steps."""

    epochs = 6

    def make_scheduler(self) -> Any:
        self.average = AveragedModel(self.network, multi_avg_fn=get_ema_multi_avg_fn(0.95), use_buffers=True)
        return None

    def after_step(self) -> None:
        self.average.update_parameters(self.network)

    def evaluated(self) -> nn.Module:
        return self.average.eval()


class OneCycleAdamW(NormClothes):
    """One cycle of the rate and of Adam's first moment, moved by step."""

    lr = 0.01
    epochs = 5

    def make_optimizer(self) -> Optimizer:
        return torch.optim.AdamW(self.network.parameters(), lr=self.lr, weight_decay=0.01)

    def make_scheduler(self) -> Any:
        steps = self.epochs * self.steps_per_epoch
        return torch.optim.lr_scheduler.OneCycleLR(self.optimizer, max_lr=self.lr, total_steps=steps)

    def after_step(self) -> None:
        self.scheduler.step()


class SmoothedLabels(Clothes):
    """Labels smoothed by 0.1."""

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(outputs, labels, label_smoothing=0.1)


class Mixup(Clothes):
    """Pairs of images and their losses are mixed in one proportion for each batch."""

    epochs = 8

    def step(self, watcher: Watcher, x: Tensor, y: Tensor) -> None:
        share = float(torch.rand(1, generator=self.order))
        partner = torch.randperm(len(y), generator=self.order)
        with watcher.step():
            self.optimizer.zero_grad()
            outputs = self.network(share * x + (1 - share) * x[partner])
            loss = share * self.loss(outputs, y) + (1 - share) * self.loss(outputs, y[partner])
            loss.backward()
            watcher.backward_done(loss, outputs, y)
            self.optimizer.step()


class Autocast(Clothes):
    """The forward pass in bfloat16 under autocast; weights and updates in float32."""

    def step(self, watcher: Watcher, x: Tensor, y: Tensor) -> None:
        with watcher.step():
            self.optimizer.zero_grad()
            with torch.autocast("cpu", dtype=torch.bfloat16):
                outputs = self.network(x)
                loss = self.loss(outputs, y)
            loss.backward()
            watcher.backward_done(loss, outputs, y)
            self.optimizer.step()


class BatchesOfFour(Digits):
    """Four examples a step, layer normalization, a small rate."""

    batch_size = 4
    lr = 0.02
    epochs = 3

    def make_network(self) -> nn.Module:
        return nn.Sequential(
            nn.Linear(64, 64), nn.LayerNorm(64), nn.GELU(), nn.Linear(64, 64), nn.LayerNorm(64), nn.GELU(),
            nn.Linear(64, 10),
        )  # fmt: skip

    def make_optimizer(self) -> Optimizer:
        return torch.optim.SGD(self.network.parameters(), lr=self.lr)


class ClassWeighted(Digits):
    """Three classes of 70, 20 and 10 %, weighed in the loss by the inverse of their share."""

    classes = 3
    epochs = 6

    def make_data(self) -> tuple[Pair, Pair]:
        (x, y), (x_val, y_val) = super().make_data()
        groups = torch.tensor([0] * 7 + [1] * 2 + [2])
        return (x, groups[y]), (x_val, groups[y_val])

    def make_network(self) -> nn.Module:
        return nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Dropout(0.2), nn.Linear(64, 3))

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(outputs, labels, weight=torch.tensor([0.48, 1.67, 3.33]))


class LayerwiseRates(NormClothes):
    """The head learns four times as fast as the layers below it."""

    rate_below = 0.001

    def make_optimizer(self) -> Optimizer:
        body, head = self.network[:-1], self.network[-1]  # type: ignore[index]
        groups = [{"params": list(body.parameters()), "lr": self.rate_below}, {"params": list(head.parameters())}]
        return torch.optim.Adam(groups, lr=0.004)


class Rounding(nn.Module):
    """Round to whole numbers; the gradient passes as if nothing had been rounded."""

    def forward(self, x: Tensor) -> Tensor:
        return x + (x.round() - x).detach()


class StraightThrough(Digits):
    """Hidden numbers are rounded, with a straight-through gradient (Bengio et al. 2013)."""

    rounding: type[nn.Module] = Rounding

    def make_network(self) -> nn.Module:
        return nn.Sequential(
            nn.Linear(64, 96), nn.LayerNorm(96), self.rounding(), nn.Linear(96, 64), nn.ReLU(), nn.Linear(64, 10)
        )


class SharpnessAware(Clothes):
    """Two backward passes for a step, the second from weights moved uphill (Foret et al. 2021)."""

    def step(self, watcher: Watcher, x: Tensor, y: Tensor) -> None:
        parameters = list(self.network.parameters())
        with watcher.step():
            self.optimizer.zero_grad()
            self.loss(self.network(x), y).backward()
            norm = torch.cat([p.grad.flatten() for p in parameters if p.grad is not None]).norm()
            moves = [0.02 * p.grad / norm for p in parameters if p.grad is not None]
            with torch.no_grad():
                torch._foreach_add_(parameters, moves)
            self.optimizer.zero_grad()
            outputs = self.network(x)
            loss = self.loss(outputs, y)
            loss.backward()
            with torch.no_grad():
                torch._foreach_sub_(parameters, moves)
            watcher.backward_done(loss, outputs, y)
            self.optimizer.step()


class StepWithClosure(Digits):
    """The forward and the backward pass in a closure that the optimizer calls."""

    def step(self, watcher: Watcher, x: Tensor, y: Tensor) -> None:
        def closure() -> Tensor:
            self.optimizer.zero_grad()
            outputs = self.network(x)
            loss = self.loss(outputs, y)
            loss.backward()
            watcher.backward_done(loss, outputs, y)
            return loss

        with watcher.step():
            self.optimizer.step(closure)  # type: ignore[arg-type]


class Experts(nn.Module):
    """Each example goes through the one of six layers that a gate chooses; a batch may leave some without any."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Linear(64, 6)
        self.experts = nn.ModuleList([nn.Linear(64, 32) for _ in range(6)])
        self.head = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        weight, chosen = self.gate(x).softmax(1).max(1)
        hidden = x.new_zeros(len(x), 32)
        for number, expert in enumerate(self.experts):
            rows = (chosen == number).nonzero().squeeze(1)
            hidden = hidden.index_add(0, rows, F.relu(expert(x[rows])))
        return self.head(weight[:, None] * hidden)


class ChosenExperts(Digits):
    """A mixture of experts with hard choices (Shazeer et al. 2017, the best one alone)."""

    epochs = 6

    def make_network(self) -> nn.Module:
        return Experts()


class DrawnWithReplacement(Digits):
    """Batches that are drawn with replacement, as a weighted sampler does."""

    def batches(self) -> Iterator[Pair]:
        x, y = self.training_set
        for _ in range(self.steps_per_epoch):
            index = torch.randint(len(y), (self.batch_size,), generator=self.order)
            yield x[index], y[index]
