"""How much memory a batch may need on a device whose allocator counts: arithmetic on a fake one."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pipeline.data import Images
from pipeline.training import largest_batch as module
from pipeline.training.largest_batch import largest_batch
from tests.training.fake_allocator import DEVICE, FakeAllocator

EACH = 1000
"""Bytes that a pass allocates for each example."""
PARAMETERS = 100


class Hungry(nn.Module):
    """A pass allocates `EACH` bytes for each example, which are free when it ends; without gradients a tenth."""

    def __init__(self, allocator: FakeAllocator):
        super().__init__()
        self.allocator, self.sizes = allocator, list[tuple[int, bool]]()
        self.weight = nn.Parameter(torch.ones(PARAMETERS, device=DEVICE))

    def loss(self, pixels: Tensor, labels: Tensor) -> Tensor:
        self.sizes.append((len(pixels), torch.is_grad_enabled()))
        size = EACH * len(pixels) // (1 if torch.is_grad_enabled() else 10)
        self.allocator.allocate(size)
        self.allocator.free(size)
        return self.weight.sum()


def largest(monkeypatch: pytest.MonkeyPatch, allocator: FakeAllocator, **options: Any) -> int:
    """Search with a clock on which larger is always faster: memory alone ends the search."""
    monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=itertools.count().__next__))
    monkeypatch.setattr(module, "MIN_SPEEDUP", 0.0)
    images = Images(torch.zeros(4096, 1, 1, 1), torch.zeros(4096, dtype=torch.int64))
    network = options.pop("network", None) or Hungry(allocator)
    return largest_batch(network, network.loss, images, device=DEVICE, is_allowed=lambda size: True, **options)


def room_for(size: int) -> int:
    """Return the memory in which `size` examples just have room: half of it, beside the optimizer's state."""
    return 2 * size * EACH + 2 * 4 * PARAMETERS


def test_half_of_what_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    """A captured step has as much memory again as the pass. Adam keeps two values of 4 bytes for each parameter."""
    assert largest(monkeypatch, FakeAllocator(monkeypatch, total=room_for(256))) == 256
    assert largest(monkeypatch, FakeAllocator(monkeypatch, total=room_for(256) - 2)) == 128
    assert largest(monkeypatch, FakeAllocator(monkeypatch, total=room_for(256), others=2)) == 128


def test_what_is_allocated_before_is_not_needed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither what other tensors have, nor an earlier peak, counts as the need of a pass; the cache counts as free."""
    allocator = FakeAllocator(monkeypatch, total=room_for(256) + 5000)
    allocator.allocate(room_for(256))
    allocator.free(room_for(256) - 5000)
    assert largest(monkeypatch, allocator) == 256


def test_room_for_images_and_evaluation(monkeypatch: pytest.MonkeyPatch) -> None:
    allocator = FakeAllocator(monkeypatch, total=room_for(256) + 7000 + 500 * EACH // 10)
    network = Hungry(allocator)
    assert largest(monkeypatch, allocator, network=network, resident_bytes=7000, evaluation_size=500) == 256
    assert network.sizes[0] == (500, False)
    assert all(has_gradient for _, has_gradient in network.sizes[1:])
    assert largest(monkeypatch, allocator, resident_bytes=7002, evaluation_size=500) == 128
    assert largest(monkeypatch, allocator, resident_bytes=7000, evaluation_size=510) == 128
    huge = room_for(256) * 10  # images that would fill the device stay in the host's memory
    assert largest(monkeypatch, allocator, resident_bytes=huge) == 128


def test_out_of_memory_ends_the_search(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pass that needs more than expected ends it at the size before, and leaves no cache behind."""
    allocator = FakeAllocator(monkeypatch, total=10**9)
    network = Hungry(allocator)
    loss = network.loss

    def limited(pixels: Tensor, labels: Tensor) -> Tensor:
        if len(pixels) > 100:
            allocator.allocate(10**10)
        return loss(pixels, labels)

    network.loss = limited  # type: ignore[method-assign]
    assert largest(monkeypatch, allocator, network=network) == 64
    assert (allocator.emptied, allocator.reserved) == (1, 0)


def test_smallest_size_that_does_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says more than that no size is allowed."""
    allocator = FakeAllocator(monkeypatch, total=15 * EACH)
    with pytest.raises(torch.OutOfMemoryError):
        largest(monkeypatch, allocator)
    assert allocator.emptied == 1
