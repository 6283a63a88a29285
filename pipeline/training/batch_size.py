"""Which batch sizes a training can use, and the size that `data.batch_size=auto` stands for."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pipeline import validation
from pipeline.data import Images, Preprocessing
from pipeline.data.pixels import StoredPixels
from pipeline.data.shuffle import evaluation_batch
from pipeline.errors import UserError
from pipeline.model import Loss
from pipeline.training.device import DeviceConfig
from pipeline.training.largest_batch import largest_batch

AUTO = "auto"
MIN_STEPS_PER_EPOCH = 20
"""Optimizer steps in an epoch, at least, where the size is chosen."""


@dataclass(frozen=True)
class BatchSizeLimits:
    """The sizes of a minibatch that are valid for `n` training examples.

    A step has `device_config.accumulate` minibatches, and each is shared by `device_config.devices` processes. With
    batchnorm (`has_batchnorm`) every pass needs two examples, since one has no variance.
    """

    n: int
    device_config: DeviceConfig
    has_batchnorm: bool

    def validate(self, size: object) -> None:
        """Raise `UserError` for more than the training split has, or a pass over one example with batchnorm."""
        smaller = [2**k for k in range(max(self.n // 4, 1).bit_length() - 1, 0, -1)]
        suggestion = next((f" Try data.batch_size={one}." for one in smaller if self.is_valid(one)), "")
        hint = f"The training split has {self.n} examples.{suggestion}"
        size = validation.integer("data.batch_size", size, at_least=1, at_most=self.n, hint=hint)
        if self._step_size(size) > self.n:
            raise UserError(
                f"{self.device_config.accumulate} minibatches of {size} are more than the {self.n} training examples.",
                field="trainer.accumulate",
            )
        if not self.is_valid(size):
            passes = self._passes
            problem = f"has a part (of {passes}) with fewer than two examples" if passes > 1 else "has a single example"
            larger = range(size, self.n // self.device_config.accumulate + 1)
            suggestion = next((f"data.batch_size={other} or " for other in larger if self.is_valid(other)), "")
            raise UserError(
                f"with {self.n} training examples the last batch {problem}, and batchnorm needs two. "
                f"Try {suggestion}batchnorm=none.",
                field="data.batch_size",
            )

    def is_valid(self, size: int) -> bool:
        """Return whether every pass has at least two examples where batchnorm needs them."""
        step = self._step_size(size)
        return not self.has_batchnorm or min(step, self.n % step or step) >= 2 * self._passes

    def find_largest(
        self, network: nn.Module, preprocessing: Preprocessing, loss: Loss, train: Images, *, channels_last: bool
    ) -> int:
        """Return the size that `largest_batch` finds by running passes of `network`, which is changed by them.

        An epoch has at least `MIN_STEPS_PER_EPOCH` steps. Raises `UserError` where no size leaves that many.
        """
        device, processes = self.device_config.device, self.device_config.devices
        memory_format = torch.channels_last if channels_last else torch.contiguous_format
        network = network.to(device).to(memory_format=memory_format).train()
        preprocessing = preprocessing.on(device)

        def loss_of(pixels: Tensor, labels: Tensor) -> Tensor:
            with self.device_config.autocast():
                return loss(network(preprocessing(pixels).contiguous(memory_format=memory_format)), labels)

        def is_allowed(share: int) -> bool:
            size = share * processes
            return self._step_size(size) * MIN_STEPS_PER_EPOCH <= self.n and self.is_valid(size)

        is_resident = self.device_config.images_on != "host" and not isinstance(train.pixels, StoredPixels)
        with torch.random.fork_rng(devices=[]):
            share = largest_batch(
                network,
                loss_of,
                train,
                device=device,
                is_allowed=is_allowed,
                processes=processes if device.type == "cpu" else 1,
                resident_bytes=train.pixels.nbytes if is_resident else 0,
                evaluation_size=evaluation_batch(train.pixels.shape[1:]),
            )
        if not share:
            raise UserError(
                f"no power of two from 16 on leaves {MIN_STEPS_PER_EPOCH} steps in an epoch of {self.n} training "
                f"examples{', each with two examples or more for batchnorm' if self.has_batchnorm else ''}. "
                "Give a number.",
                field="data.batch_size",
            )
        return share * processes

    def _step_size(self, size: int) -> int:
        """Return the number of examples in one optimizer step."""
        return size * self.device_config.accumulate

    @property
    def _passes(self) -> int:
        """The number of passes in one optimizer step, over all processes."""
        return self.device_config.accumulate * self.device_config.devices
