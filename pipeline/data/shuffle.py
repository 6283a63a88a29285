"""Stateless randomness: everything random is a function of integers, so that a resumed run replays nothing."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator

import torch
from torch import Tensor

from pipeline.validation import integer


def derive_seed(*parts: int) -> int:
    """A 63-bit seed from integers (each within 64 bits): BLAKE2b of their bytes, so that near seeds are unrelated."""
    packed = struct.pack(f"<{len(parts)}q", *parts)
    return int.from_bytes(hashlib.blake2b(packed, digest_size=8).digest(), "little") >> 1


def permutation(seed: int, epoch: int, n: int) -> Tensor:
    """The order (n,) int64 in which `epoch` visits n examples: a function of (seed, epoch) alone; on the CPU."""
    return torch.randperm(n, generator=torch.Generator().manual_seed(derive_seed(seed, epoch)))


def split_batches(order: Tensor, batch_size: int) -> list[Tensor]:
    """`order` (n,) cut into ceil(n / batch_size) pieces of `batch_size`, the last one smaller."""
    return list(torch.split(order, batch_size)) if len(order) else []


class EpochBatchSampler:
    """The minibatches of one epoch, from any step on: lists of at most `steps_per_call` pairs (step, index (B,)).

    `epoch` and `step` (steps of this epoch already done) are set by whoever trains; iterating does not move them.
    Lists end at multiples of `steps_per_call`, so that a resumed epoch falls into step with the original one.
    Raises UserError: `batch_size` not a whole number above 0.
    """

    def __init__(self, n: int, *, batch_size: int, seed: int, steps_per_call: int) -> None:
        assert n > 0
        assert steps_per_call > 0
        self.n = n
        self.batch_size = integer("batch_size", batch_size, at_least=1)
        self.seed = seed
        self.steps_per_call = steps_per_call
        self.epoch = 0
        self.step = 0

    @property
    def steps_per_epoch(self) -> int:
        return -(-self.n // self.batch_size)

    def __len__(self) -> int:
        """Lists that are still to come in this epoch."""
        calls = -(-self.steps_per_epoch // self.steps_per_call)
        return calls - self.step // self.steps_per_call if self.step < self.steps_per_epoch else 0

    def __iter__(self) -> Iterator[list[tuple[int, Tensor]]]:
        steps = list(enumerate(split_batches(permutation(self.seed, self.epoch, self.n), self.batch_size)))
        start = self.step
        while start < len(steps):
            end = (start // self.steps_per_call + 1) * self.steps_per_call
            yield steps[start:end]
            start = end
