"""A loss for the CPU: where a loss of probabilities gets a number outside of its range, a GPU ends the process."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

LossFunction = Callable[[Any, Any], Tensor]


def loss_on_cpu(loss: LossFunction, outputs: Tensor, labels: Tensor) -> LossFunction | None:
    """Return a loss that takes outputs and labels on the CPU; None where it cannot, as with weights in a closure.

    A loss that is a module is copied, one with a method `on_cpu` says itself what is used; others are used as they are.
    """
    if outputs.device.type == "cpu":
        return loss
    try:
        if isinstance(loss, nn.Module):
            moved: LossFunction = copy.deepcopy(loss).cpu()
        else:
            moved = loss.on_cpu() if hasattr(loss, "on_cpu") else loss
        with torch.no_grad():
            moved(outputs.detach().cpu(), labels.detach().cpu())
    except Exception:  # noqa: BLE001 - a stranger's loss may fail in any way
        return None
    return moved
