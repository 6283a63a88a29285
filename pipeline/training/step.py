"""One optimizer step: the passes over its examples, and the update."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from pipeline.model.losses import Loss
from pipeline.signals.recorder import StepSampler
from pipeline.training import data_parallel
from pipeline.training.device_rates import DeviceRates
from pipeline.training.lightning_shortcuts import count_step, seed_generators

SeedOfPart = Callable[[int], int]
"""The seed of each pass of a step, by its number over all processes."""


@dataclass
class TrainingStep:
    """Trains `optimizer`'s weights on the examples at an index, in one pass or in several (`accumulate`, processes).

    `select(index)` returns pixels and labels on `device`, `forward(pixels)` the logits. `compiled_forward` is used for
    passes over `compiled_size` examples. With `rates` the optimizer reads its rates from the device.
    """

    forward: Callable[[Tensor], Tensor]
    loss: Loss
    select: Callable[[Tensor], tuple[Tensor, Tensor]]
    optimizer: Any
    trainer: pl.Trainer
    device: torch.device
    accumulate: int = 1
    compiled_forward: Callable[[Tensor], Tensor] | None = None
    compiled_size: int | None = None
    rates: DeviceRates | None = None

    def __post_init__(self) -> None:
        self.has_scaler = getattr(self.trainer.precision_plugin, "scaler", None) is not None
        """Whether 16-mixed scales the loss, and may leave out an update."""
        # Lightning's `manual_backward` scales and exchanges gradients; where neither is needed its hooks cost 0.1 ms
        needs_hooks = self.has_scaler or self.trainer.world_size > 1
        self._backward: Callable[[Tensor], None] = (
            self.trainer.lightning_module.manual_backward if needs_hooks else Tensor.backward
        )
        self._is_single_pass = self.accumulate == self.trainer.world_size == 1

    def __call__(self, index: Tensor, seed_of: SeedOfPart, probe: StepSampler | None) -> Tensor:
        """Make the step over the examples at `index` (B,). Returns (2,): its mean loss and correct predictions.

        `probe` measures the last pass.
        """
        self.optimizer.zero_grad()
        if self._is_single_pass:
            seed_generators(seed_of(0), self.device)
            result = self.run_pass(index, probe=probe)
        else:
            result = self._run_parts(index, seed_of, probe)
        if self.has_scaler:
            self.optimizer.step()
        else:
            with count_step(self.optimizer):
                self.update()
        if probe:
            probe.after_update(self.optimizer.param_groups[0]["lr"])
        return result

    def run_pass(self, index: Tensor, *, probe: StepSampler | None = None, weight: float = 1.0) -> Tensor:
        """Add the gradient of `weight` x mean loss over the examples at `index`.

        Returns (2,): that weighted loss and the number of correct predictions, float32.
        """
        pixels, labels = self.select(index)
        if self.compiled_forward is not None and probe is None and len(index) == self.compiled_size:
            logits = self.compiled_forward(pixels)
        else:
            with probe.forward() if probe else nullcontext():
                logits = self.forward(pixels)
        loss = self.loss(logits, labels)
        if weight != 1:
            loss = loss * weight
        self._backward(loss)
        if probe:
            probe.before_update(logits)
        return torch.stack([loss.detach().float(), (logits.detach().argmax(1) == labels).sum()])

    def update(self) -> None:
        """Update the weights by their gradients, without counting a step."""
        with self.rates.in_use() if self.rates else nullcontext():
            self.optimizer.optimizer.step()

    def _run_parts(self, index: Tensor, seed_of: SeedOfPart, probe: StepSampler | None) -> Tensor:
        """Run the passes of this process."""
        results = []
        for part in data_parallel.divide_step(
            index, accumulate=self.accumulate, rank=self.trainer.global_rank, world_size=self.trainer.world_size
        ):
            seed_generators(seed_of(part.number), self.device)
            with data_parallel.gradient_exchange(self.trainer, part):
                result = self.run_pass(part.index, probe=probe if part.is_last else None, weight=part.weight)
            results.append(result * result.new_tensor([1.0, 0.0]) if part.is_empty else result)
        return sum_parts(results)


def sum_parts(results: list[Tensor]) -> Tensor:
    """Return the sum of the results of a step's passes, each (2,)."""
    return torch.stack(results).sum(0)
