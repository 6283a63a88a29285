"""Stateless randomness: seeds and orders as functions of integers, so that a resumed run draws what it would have."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator

import torch
from torch import Tensor

from pipeline.validation import integer


def derive_seed(*values: int) -> int:
    """Return a 63-bit seed from integers of at most 64 bits each.

    The seed is the BLAKE2b hash of their bytes, so that neighbouring values give unrelated seeds.
    """
    packed = struct.pack(f"<{len(values)}q", *values)
    return int.from_bytes(hashlib.blake2b(packed, digest_size=8).digest(), "little") >> 1


def permutation(seed: int, epoch: int, n: int) -> Tensor:
    """Return the order (n,) int64, on the CPU, in which `epoch` visits `n` examples: a function of the arguments."""
    return torch.randperm(n, generator=torch.Generator().manual_seed(derive_seed(seed, epoch)))


def split_batches(order: Tensor, batch_size: int) -> list[Tensor]:
    """Cut `order` (n,) into ceil(n / batch_size) batches of `batch_size`, the last one smaller."""
    return list(torch.split(order, batch_size)) if len(order) else []


class EpochBatchSampler:
    """Minibatches of one epoch, from any step on: lists of at most `steps_per_call` pairs (step, index (B,)).

    The order of an epoch is moved to `device` at once, so the indices are there.

    The trainer sets `epoch` and `step`, the number of steps of this epoch that are already done; iterating does not
    change them. Lists end at multiples of `steps_per_call`, so that a resumed epoch is cut like the original one.
    Raises `UserError` when `batch_size` is not a whole number above 0.
    """

    def __init__(self, n: int, *, batch_size: int, seed: int, steps_per_call: int) -> None:
        assert n > 0
        assert steps_per_call > 0
        self.n = n
        self.batch_size = integer("batch_size", batch_size, at_least=1)
        self.seed = seed
        self.steps_per_call = steps_per_call
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
        order = permutation(self.seed, self.epoch, self.n).to(self.device)
        steps = list(enumerate(split_batches(order, self.batch_size)))
        start = self.step
        while start < len(steps):
            end = (start // self.steps_per_call + 1) * self.steps_per_call
            yield steps[start:end]
            start = end
