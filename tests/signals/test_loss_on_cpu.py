"""A loss that is asked odd things is asked on the CPU."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.signals.loss_on_cpu import loss_on_cpu


class OfSomeDevice:
    """Outputs that say they are on a GPU, and are on the CPU when they are asked to move there."""

    device = torch.device("cuda")

    def __init__(self, values: Tensor):
        self.values = values

    def detach(self) -> OfSomeDevice:
        return self

    def cpu(self) -> Tensor:
        return self.values


def on_gpu(values: Tensor) -> Tensor:
    return OfSomeDevice(values)  # type: ignore[return-value]


OUTPUTS, LABELS = torch.randn(6, 3), torch.arange(6) % 3


def test_on_the_cpu_it_stays() -> None:
    assert loss_on_cpu(F.cross_entropy, OUTPUTS, LABELS) is F.cross_entropy


def test_a_module_is_copied() -> None:
    loss = nn.CrossEntropyLoss(weight=torch.ones(3))
    moved = loss_on_cpu(loss, on_gpu(OUTPUTS), on_gpu(LABELS))
    assert moved is not loss
    assert moved is not None
    assert torch.equal(moved(OUTPUTS, LABELS), loss(OUTPUTS, LABELS))


def test_a_function_that_needs_the_gpu_is_not_asked() -> None:
    def weighted(outputs: Tensor, labels: Tensor) -> Tensor:
        raise RuntimeError("Expected all tensors to be on the same device")

    assert loss_on_cpu(weighted, on_gpu(OUTPUTS), on_gpu(LABELS)) is None
