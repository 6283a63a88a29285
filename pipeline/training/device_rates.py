"""Optimizers whose update can be captured: the learning rates are on the device, and no number is read back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer


class DeviceRates:
    """The learning rates of `optimizer` in tensors on `device`, which its kernels read when they run.

    Outside `in_use()` the rates of the optimizer are plain numbers, as schedulers and checkpoints expect. On the device
    they are float32.
    """

    def __init__(self, optimizer: Optimizer, device: torch.device):
        self._groups = optimizer.param_groups
        self._tensors = [torch.zeros((), device=device) for _ in self._groups]
        self._values = [0.0 for _ in self._groups]

    def refresh(self) -> None:
        """Write rates that have changed to the device. The value travels with the kernel, so nothing waits."""
        for number, group in enumerate(self._groups):
            if group["lr"] != self._values[number]:
                self._values[number] = group["lr"]
                self._tensors[number].fill_(group["lr"])

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Let the optimizer read its rates from the device while the block runs."""
        self.refresh()
        numbers = [group["lr"] for group in self._groups]
        for group, tensor in zip(self._groups, self._tensors, strict=True):
            group["lr"] = tensor
        try:
            yield
        finally:
            for group, number in zip(self._groups, numbers, strict=True):
                group["lr"] = number


def make_capturable(optimizer: Optimizer) -> str | None:
    """Let `optimizer` use kernels that can be captured and read the rate from the device.

    Returns None, or why it has none. Only torch's own optimizers are known: one that counts steps in Python would
    repeat the count of the captured step.
    """
    name = type(optimizer).__name__
    if type(optimizer) is not getattr(torch.optim, name, None):
        return f"{name} is not one of torch's optimizers, and may count steps in Python"
    for group in optimizer.param_groups:
        if any(parameter.is_complex() for parameter in group["params"]):
            return "the update of complex parameters has no fused form"
        if "fused" in group and not group.get("differentiable"):
            group |= {"fused": True, "foreach": False}
        elif "capturable" not in group:
            return f"torch's {name} reads numbers back from the device"
        if "capturable" in group:
            group["capturable"] = True
        for parameter in group["params"]:
            move_state(optimizer.state.get(parameter, {}), parameter.device)
    return None


def move_state(state: dict[str, Any], device: torch.device) -> None:
    """Move the tensors of a parameter's state, such as a count of steps from a checkpoint, to the device."""
    for key, value in state.items():
        if isinstance(value, Tensor) and value.device != device:
            state[key] = value.to(device)


def constants(optimizer: Optimizer) -> list[Any]:
    """Return the numbers besides the rate that a captured update has fixed, such as momentum."""
    return [
        value
        for group in optimizer.param_groups
        for key, value in group.items()
        if key not in ("params", "lr", "initial_lr", "max_lr", "min_lr")
    ]
