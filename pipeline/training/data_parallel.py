"""How a step is divided into passes, and how several processes combine what they computed.

The n examples of a step are cut into `accumulate` x `world_size` parts, one pass each; part j belongs to process
j mod `world_size`. DDP averages gradients over processes, so the mean loss of a part of m examples is weighted by
`world_size` * m / n. The gradient of the step is then that of its mean loss, to rounding.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class StepPart:
    """The examples of one pass."""

    number: int
    """Which part of the step it is, over all processes."""
    index: Tensor
    """(m,) examples. An empty part has one all the same, since each process must take part in the exchange."""
    weight: float
    """Factor of the part's mean loss; 0 for an empty part."""
    is_empty: bool
    is_last: bool
    """Whether it is the last part of this process."""


def divide_step(index: Tensor, *, accumulate: int, rank: int, world_size: int) -> list[StepPart]:
    """Return this process's parts of the step over the examples at `index` (n,)."""
    pieces = list(enumerate(torch.tensor_split(index, accumulate * world_size)))[rank::world_size]
    return [
        StepPart(
            number=number,
            index=piece if len(piece) else index[:1],
            weight=world_size * len(piece) / len(index),
            is_empty=len(piece) == 0,
            is_last=number == pieces[-1][0],
        )
        for number, piece in pieces
    ]


def gradient_exchange(trainer: pl.Trainer, part: StepPart) -> AbstractContextManager[None]:
    """Return the context of a part's backward pass: gradients are exchanged once a step, in its last part."""
    if part.is_last or trainer.world_size == 1:
        return nullcontext()
    strategy: Any = trainer.strategy
    return strategy.block_backward_sync()


def share_of_process(index: Tensor, trainer: pl.Trainer) -> Tensor:
    """Return the examples of `index` that this process evaluates."""
    return torch.tensor_split(index, trainer.world_size)[trainer.global_rank]


def sum_over_processes(values: Tensor, trainer: pl.Trainer) -> Tensor:
    """Return the sum of `values` over all processes."""
    return trainer.strategy.reduce(values.clone(), reduce_op="sum")


def combine_steps(losses: Tensor, correct: Tensor, trainer: pl.Trainer) -> tuple[Tensor, Tensor]:
    """Return the losses and sums of scores of some steps over all processes, in one exchange."""
    if trainer.world_size == 1:
        return losses, correct
    both = sum_over_processes(torch.stack([losses / trainer.world_size, correct.float()]), trainer)
    return both[0], both[1].to(correct.dtype) if correct.is_floating_point() else both[1].round().long()


def broadcast_buffers(network: nn.Module, trainer: pl.Trainer) -> None:
    """Give all processes the running statistics of the first one, which is the one that saves the network."""
    broadcast(network.buffers(), trainer)


def broadcast(tensors: Iterable[Tensor], trainer: pl.Trainer) -> None:
    """Give all processes the `tensors` of the first one."""
    if trainer.world_size > 1:
        for tensor in tensors:
            torch.distributed.broadcast(tensor, src=0)
