"""Stateless randomness: seeds and orders as functions of integers, so that a resumed run draws what it would have."""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from pipeline.validation import integer

EVALUATION_BATCH = 500
"""Most examples in one pass where no gradient is needed. It bounds memory, and larger passes are no faster."""
_EVALUATION_VALUES = 1 << 24
"""Most values of the images in such a pass: 341 of 3x128x128."""


def evaluation_batch(input_shape: Sequence[int]) -> int:
    """Return how many images (C, H, W) of `input_shape` a pass has where no gradient is needed."""
    return max(1, min(EVALUATION_BATCH, _EVALUATION_VALUES // math.prod(input_shape)))


def derive_seed(*values: int) -> int:
    """Return a 63-bit seed from integers of at most 64 bits each.

    The seed is the BLAKE2b hash of their bytes, so that neighbouring values give unrelated seeds.
    """
    packed = struct.pack(f"<{len(values)}q", *values)
    return int.from_bytes(hashlib.blake2b(packed, digest_size=8).digest(), "little") >> 1


def permutation(seed: int, epoch: int, n: int) -> Tensor:
    """Return the order (n,) int64, on the CPU, in which `epoch` visits `n` examples: a function of the arguments."""
    return torch.randperm(n, generator=torch.Generator().manual_seed(derive_seed(seed, epoch)))


def weighted_order(seed: int, epoch: int, weights: Tensor) -> Tensor:
    """Return n examples (n,) int64 for `epoch`, drawn with repetition in proportion to `weights` (n,).

    The draw is systematic: an example that should come w times comes floor(w) or ceil(w) times, and so do all examples
    of one weight together. Which ones, and the order, are random.
    """
    generator = torch.Generator().manual_seed(derive_seed(seed, epoch))
    n = len(weights)
    mixed = torch.randperm(n, generator=generator)
    mixed = mixed[weights[mixed].argsort(stable=True)]  # equal weights side by side
    edges = weights[mixed].double().cumsum(0)
    offset = torch.rand(1, generator=generator, dtype=torch.float64)
    points = (torch.arange(n) + offset) * (edges[-1] / n)
    drawn = mixed[torch.searchsorted(edges, points, right=True).clamp(max=n - 1)]
    return drawn[torch.randperm(n, generator=generator)]


def split_batches(order: Tensor, batch_size: int) -> list[Tensor]:
    """Cut `order` (n,) into ceil(n / batch_size) batches of `batch_size`, the last one smaller."""
    return list(torch.split(order, batch_size)) if len(order) else []


class EpochBatchSampler:
    """Minibatches of one epoch, from any step on: lists of at most `steps_per_call` pairs (step, index (B,)).

    The order of an epoch is moved to `device` at once, so the indices are there. With `weights` (n,) an epoch draws n
    examples in proportion to them, in place of each example once.

    The trainer sets `epoch` and `step`, the number of steps of this epoch that are already done; iterating does not
    change them. Lists end at multiples of `steps_per_call`, so that a resumed epoch is cut like the original one.
    Raises `UserError` when `batch_size` is not a whole number above 0.
    """

    def __init__(
        self, n: int, *, batch_size: int, seed: int, steps_per_call: int, weights: Tensor | None = None
    ) -> None:
        assert n > 0
        assert steps_per_call > 0
        self.n = n
        self.batch_size = integer("batch_size", batch_size, at_least=1)
        self.seed = seed
        self.steps_per_call = steps_per_call
        self.weights = weights
        self.device = torch.device("cpu")
        self.epoch = 0
        self.step = 0

    @property
    def steps_per_epoch(self) -> int:
        """The number of steps of a whole epoch: ceil(n / batch_size)."""
        return -(-self.n // self.batch_size)

    def __len__(self) -> int:
        """Return the number of lists that remain in this epoch."""
        calls = -(-self.steps_per_epoch // self.steps_per_call)
        return calls - self.step // self.steps_per_call if self.step < self.steps_per_epoch else 0

    def __iter__(self) -> Iterator[list[tuple[int, Tensor]]]:
        if self.weights is None:
            order = permutation(self.seed, self.epoch, self.n).to(self.device)
        else:
            order = weighted_order(self.seed, self.epoch, self.weights).to(self.device)
        steps = list(enumerate(split_batches(order, self.batch_size)))
        start = self.step
        while start < len(steps):
            end = (start // self.steps_per_call + 1) * self.steps_per_call
            yield steps[start:end]
            start = end
