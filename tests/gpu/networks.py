"""Networks of a user that a GPU has trouble with."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ReadsNumber(nn.Module):
    """Reads a number back from the device in each pass, so that no graph can be captured."""

    def __init__(self, input_shape: tuple[int, int, int], classes: int):
        super().__init__()
        channels, height, width = input_shape
        self.hidden = nn.Linear(channels * height * width, 64)
        self.output = nn.Linear(64, classes)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.hidden(x.flatten(1)).relu()
        return self.output(hidden if hidden.mean().item() < 1e6 else hidden / 2)


class NeedsMemory(nn.Module):
    """Lets this process have 1 GiB of the GPU, and needs more than 1 MB of it for each image of 28x28 pixels."""

    def __init__(self, input_shape: tuple[int, int, int], classes: int):
        super().__init__()
        if torch.cuda.is_available():
            total = torch.cuda.get_device_properties(0).total_memory
            torch.cuda.set_per_process_memory_fraction(min(1.0, 2**30 / total))
        self.layers = nn.Sequential(
            nn.Conv2d(input_shape[0], 256, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(256, 256, 3, padding=1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(256, classes),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)
