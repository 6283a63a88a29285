"""Which batch sizes a training can use, and which one it uses when it may choose."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pipeline import validation
from pipeline.data import Images, Preprocessing
from pipeline.errors import UserError
from pipeline.model import Loss
from pipeline.training.device import DeviceConfig
from pipeline.training.largest_batch import largest_batch

AUTO = "auto"
MIN_STEPS_PER_EPOCH = 20
"""Optimizer steps that an epoch keeps where the size is chosen."""


@dataclass(frozen=True)
class BatchSizeRule:
    """`n` training examples in steps of `engine.accumulate` minibatches, each shared by `engine.devices` processes;
    `normalized`: by batchnorm, which takes no variance of one example."""

    n: int
    engine: DeviceConfig
    normalized: bool

    def validate(self, size: object) -> None:
        """Raises `UserError` for what no step can use: more than there is, or a lone example under batchnorm."""
        size = validation.integer(
            "data.batch_size", size, at_least=1, at_most=self.n, hint=f"The training split has {self.n} examples."
        )
        if self._step(size) > self.n:
            raise UserError(
                f"{self.engine.accumulate} minibatches of {size} are more than the {self.n} training examples.",
                field="trainer.accumulate",
            )
        if not self.is_valid(size):
            parts = self._parts
            lone = f"has a part (of {parts}) with fewer than two examples" if parts > 1 else "has a single example"
            larger = range(size, self.n // self.engine.accumulate + 1)
            better = next((f"data.batch_size={other} or " for other in larger if self.is_valid(other)), "")
            raise UserError(
                f"with {self.n} training examples the last batch {lone}, of which batchnorm cannot take a variance. "
                f"Try {better}batchnorm=none.",
                field="data.batch_size",
            )

    def is_valid(self, size: int) -> bool:
        """Whether every part of every step has two examples or more, where it needs them."""
        step = self._step(size)
        return not self.normalized or min(step, self.n % step or step) >= 2 * self._parts

    def find_largest(
        self, network: nn.Module, preprocessing: Preprocessing, loss: Loss, train: Images, *, channels_last: bool
    ) -> int:
        """The size that `largest_batch` finds with passes of this network, which is for that alone; an epoch keeps
        `STEPS` steps at least."""
        device, processes = self.engine.device, self.engine.devices
        layout = torch.channels_last if channels_last else torch.contiguous_format
        network = network.to(device).to(memory_format=layout).train()
        prepare = preprocessing.on(device)

        def loss_of(pixels: Tensor, labels: Tensor) -> Tensor:
            with self.engine.autocast():
                return loss(network(prepare(pixels).contiguous(memory_format=layout)), labels)

        def allowed(share: int) -> bool:
            return self._step(share * processes) * MIN_STEPS_PER_EPOCH <= self.n and self.is_valid(share * processes)

        with torch.random.fork_rng(devices=[]):
            share = largest_batch(
                network,
                loss_of,
                train,
                device=device,
                allowed=allowed,
                processes=processes if device.type == "cpu" else 1,
            )
        if not share:
            raise UserError(
                f"no power of two from 16 on leaves {MIN_STEPS_PER_EPOCH} steps an epoch of {self.n} training examples"
                f"{', each with two examples or more for batchnorm' if self.normalized else ''}. Give a number.",
                field="data.batch_size",
            )
        return share * processes

    def _step(self, size: int) -> int:
        return size * self.engine.accumulate

    @property
    def _parts(self) -> int:
        """That a step is made of; the network sees one at a time."""
        return self.engine.accumulate * self.engine.devices
