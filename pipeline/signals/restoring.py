"""Contexts that leave no trace: random states, and the modes and buffers of a network, are restored on leaving."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Start the random numbers of torch (on the CPU and on `device`), NumPy and Python at `seed` inside the context."""
    python_state, numpy_state = random.getstate(), np.random.get_state()  # noqa: NPY002 - a network may use the global numbers
    devices = [device] if device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices=devices):
            torch.default_generator.manual_seed(seed)
            if devices:
                with torch.cuda.device(device):
                    torch.cuda.manual_seed(seed)
            random.seed(seed)
            np.random.seed(seed % 2**32)  # noqa: NPY002 - the same
            yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)  # noqa: NPY002 - the same


@contextmanager
def restored(network: nn.Module) -> Iterator[None]:
    """Restore the mode of every module and the value of every buffer on leaving."""
    modes = [(module, module.training) for module in network.modules()]
    buffers = [(buffer, buffer.detach().clone()) for buffer in network.buffers()]
    try:
        yield
    finally:
        if network.training != modes[0][1]:
            network.train(modes[0][1])  # a wrapper passes it on to what is no submodule
        for module, mode in modes:
            module.training = mode
        with torch.no_grad():
            for buffer, value in buffers:
                if not torch.equal(buffer, value):  # an equal value keeps the version that autograd knows
                    buffer.copy_(value)
