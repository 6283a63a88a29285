"""Shortcuts past hooks and bookkeeping of Lightning and torch that cost more than a step of a small network.

The private names of Lightning that this package uses are `LightningOptimizer._on_before_step` and `_on_after_step`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

import torch
from pytorch_lightning.core.optimizer import LightningOptimizer
from torch import Tensor

Chunk = Sequence[tuple[int, Tensor]]
"""Minibatches of one Lightning step: (step within the epoch, index (B,))."""


class ChunkLoader:
    """A data loader that calls `make_chunks()` for the chunks of each pass.

    It has no length on purpose. Lightning then counts nothing and goes on until the chunks end, and a run that resumes
    in the middle of an epoch gets the rest of that epoch.
    """

    def __init__(self, make_chunks: Callable[[], Iterable[Chunk]]):
        self.make_chunks = make_chunks

    def __iter__(self) -> Iterator[Chunk]:
        return iter(self.make_chunks())


Result = TypeVar("Result")


def count_step(optimizer: LightningOptimizer, step: Callable[[], Result]) -> Result:
    """Return `step()`, and count it for Lightning's `global_step`, without Lightning's hooks."""
    optimizer._on_before_step()
    result = step()
    optimizer._on_after_step()
    return result


def seed_generators(seed: int, device: torch.device) -> None:
    """Seed the generators that a step on `device` draws from.

    `torch.manual_seed` also queues a call, with a stack trace, for each kind of device that is not in use: 1 ms a step.
    """
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":  # without the locks of `torch.cuda.manual_seed`
        cuda_generator(device).manual_seed(seed)
    elif device.type != "cpu":
        torch.get_device_module(device).manual_seed(seed)


def cuda_generator(device: torch.device) -> torch.Generator:
    """Return the generator that operations on a CUDA device draw from."""
    index = device.index if device.index is not None else torch.cuda.current_device()
    return torch.cuda.default_generators[index]
