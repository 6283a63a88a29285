"""One optimizer step: the passes over its examples, and the update."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.optim import Optimizer

from pipeline.data import MixedLabels
from pipeline.data.dataset import CLASSIFICATION
from pipeline.model.losses import Loss
from pipeline.model.task import score_examples
from pipeline.signals.recorder import StepSampler
from pipeline.training import data_parallel
from pipeline.training.clipping import GradientClipping
from pipeline.training.device_rates import DeviceRates
from pipeline.training.lightning_shortcuts import count_step, seed_generators

SeedOfPart = Callable[[int], int]
"""The seed of each pass of a step, by its number over all processes."""
StepResult = tuple[Tensor, Tensor]
"""The mean loss of a step (one number), and values (n,) whose sum is the number of correct predictions.

Of other tasks than classification it is the sum of the examples' scores."""


@dataclass
class TrainingStep:
    """Trains `optimizer`'s weights on the examples at an index, in one pass or in several (`accumulate`, processes).

    `select(index)` returns pixels and labels on `device`, `forward(pixels)` the logits. `compiled_forward` is used for
    passes over `compiled_size` examples. With `rates` the optimizer reads its rates from the device. `clipping` limits
    the gradients of the whole step, once those of all passes and processes are summed.
    """

    forward: Callable[[Tensor], Tensor]
    loss: Loss
    select: Callable[[Tensor], tuple[Tensor, Tensor | MixedLabels]]
    optimizer: Any
    trainer: pl.Trainer
    device: torch.device
    accumulate: int = 1
    compiled_forward: Callable[[Tensor], Tensor] | None = None
    compiled_size: int | None = None
    rates: DeviceRates | None = None
    task: str = CLASSIFICATION
    clipping: GradientClipping | None = None

    def __post_init__(self) -> None:
        self.has_scaler = getattr(self.trainer.precision_plugin, "scaler", None) is not None
        """Whether 16-mixed scales the loss, and may leave out an update."""
        # Lightning's `manual_backward` scales and exchanges gradients; where neither is needed its hooks cost 0.1 ms
        needs_hooks = self.has_scaler or self.trainer.world_size > 1
        self._backward: Callable[[Tensor], None] = (
            self.trainer.lightning_module.manual_backward if needs_hooks else Tensor.backward
        )
        self._is_single_pass = self.accumulate == self.trainer.world_size == 1
        self.torch_optimizer: Optimizer = self.optimizer.optimizer
        self.parameters = [parameter for group in self.torch_optimizer.param_groups for parameter in group["params"]]

    def __call__(self, index: Tensor, seed_of: SeedOfPart, probe: StepSampler | None) -> StepResult:
        """Make the step over the examples at `index` (B,); `probe` measures the last pass."""
        self.clear_gradients()
        if self._is_single_pass:
            seed_generators(seed_of(0), self.device)
            result = self.run_pass(index, probe=probe)
        else:
            result = self._run_parts(index, seed_of, probe)
        if self.has_scaler and self.clipping:
            count_step(self.optimizer, functools.partial(self._update_unscaled, probe))
        elif self.has_scaler:
            self.optimizer.step()
        else:
            count_step(self.optimizer, functools.partial(self.update, probe))
        if probe:
            probe.after_update(self.torch_optimizer.param_groups[0]["lr"])
        return result

    def clear_gradients(self) -> None:
        """Do what `zero_grad` does, without its hooks, which take a fiftieth of a small step."""
        for parameter in self.parameters:
            parameter.grad = None

    def run_pass(self, index: Tensor, *, probe: StepSampler | None = None, weight: float = 1.0) -> StepResult:
        """Add the gradient of `weight` x mean loss over the examples at `index` (n,).

        Returns that weighted loss, and (n,) whether each prediction is correct: of an example mixed of two, whether it
        is the label of the larger share.
        """
        pixels, labels = self.select(index)
        if self.compiled_forward is not None and probe is None and len(index) == self.compiled_size:
            logits = self.compiled_forward(pixels)
        else:
            with probe.forward() if probe else nullcontext():
                logits = self.forward(pixels)
        loss, labels = self._loss_of(logits, labels)
        if weight != 1:
            loss = loss * weight
        self._backward(loss)
        if probe:
            probe.before_update(logits)
        return loss.detach(), score_examples(self.task, logits.detach(), labels)

    def _loss_of(self, logits: Tensor, labels: Tensor | MixedLabels) -> tuple[Tensor, Tensor]:
        """Return the mean loss, and the labels that predictions are compared with."""
        if isinstance(labels, MixedLabels):
            return labels.mean_loss(self.loss.per_example, logits), labels.dominant
        return self.loss(logits, labels), labels

    def update(self, probe: StepSampler | None = None) -> None:
        """Update the weights by their gradients, without counting a step."""
        if self.clipping:
            self.clipping(self.parameters)
            if probe:
                probe.at_update()
        if self.rates is None:
            self.torch_optimizer.step()
        else:
            with self.rates.in_use():
                self.torch_optimizer.step()

    def _update_unscaled(self, probe: StepSampler | None) -> None:
        """Update as 16-mixed does, with gradients that are unscaled before they are clipped."""
        assert self.clipping is not None
        plugin: Any = self.trainer.precision_plugin  # that of 16-mixed, which has a scaler
        scaler = plugin.scaler
        scaler.unscale_(self.torch_optimizer)
        self.clipping(self.parameters)
        if probe:
            probe.at_update(scale=scaler.get_scale())
        scaler.step(self.torch_optimizer)  # leaves the update out where a gradient is not finite
        scaler.update()

    def _run_parts(self, index: Tensor, seed_of: SeedOfPart, probe: StepSampler | None) -> StepResult:
        """Run the passes of this process."""
        results = []
        for part in data_parallel.divide_step(
            index, accumulate=self.accumulate, rank=self.trainer.global_rank, world_size=self.trainer.world_size
        ):
            seed_generators(seed_of(part.number), self.device)
            with data_parallel.gradient_exchange(self.trainer, part):
                loss, hits = self.run_pass(part.index, probe=probe if part.is_last else None, weight=part.weight)
            results.append((loss, hits[:0] if part.is_empty else hits))
        return sum_parts(results)


def sum_parts(results: Sequence[StepResult]) -> StepResult:
    """Return the result of a step from those of its passes."""
    losses, hits = zip(*results, strict=True)
    return torch.stack(losses).sum(), torch.cat(hits)


def count_correct(hits: Sequence[Tensor]) -> Tensor:
    """Return the sum of each of `hits`, (K,); for equal lengths at once."""
    if len({len(values) for values in hits}) == 1:
        return torch.cat(list(hits)).view(len(hits), -1).sum(1)
    return torch.stack([values.sum() for values in hits])
