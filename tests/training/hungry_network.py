"""A user's network that needs more memory than there is, at a place of its choice."""

from __future__ import annotations

import torch
from torch import Tensor, nn

TARGET = "tests.training.hungry_network.HungryNetwork"
DEVICE_ERROR = (
    "CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of 79.11 GiB of which 12.31 MiB is "
    "free. Including non-PyTorch memory, this process has 79.09 GiB memory in use."
)
"""As torch 2.14 says it."""
TOO_MUCH = 2**45
"""Numbers that no machine has room for: 128 TiB."""


class HungryNetwork(nn.Module):
    """64 -> 20 -> 10 units on 8 x 8 images, with batchnorm: 1,550 parameters.

    Memory runs out in the constructor (`where=constructor`), or deep in a pass over `size` examples (0: any number),
    in training mode or not (`where=training`, `where=evaluation`), after `passes` of these. On the host a tensor is
    allocated that is too large; with `device=True` the error is raised that torch raises on a GPU.
    """

    def __init__(
        self, input_shape: tuple[int, ...], classes: int, *, where: str, size: int = 0, passes: int = 0,
        device: bool = False,
    ):  # fmt: skip
        if where == "constructor":
            torch.empty(TOO_MUCH)
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(), nn.Linear(64, 20), nn.BatchNorm1d(20), nn.ReLU(), nn.Linear(20, classes)
        )
        self.where, self.size, self.passes, self.on_device = where, size, passes, device

    def forward(self, x: Tensor) -> Tensor:
        mode = "training" if self.training else "evaluation"
        if mode == self.where and self.size in (0, len(x)):
            self.passes -= 1
            if self.passes < 0:
                held = torch.zeros(1000)
                self.allocate(held)
        return self.layers(x)

    def allocate(self, held: Tensor) -> Tensor:
        if self.on_device:
            raise torch.OutOfMemoryError(DEVICE_ERROR)
        return held + torch.empty(TOO_MUCH)
