"""What the machine and a device have, what is free, and that a run on the CPU leaves accelerators alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pipeline.training import device_memory
from pipeline.training.device_memory import AllocatorMemory, HostMemory, memory_of
from tests.training.fake_allocator import DEVICE, FakeAllocator

HOST = HostMemory()


def test_host() -> None:
    assert 2**20 < HOST.free() <= HOST.total() < 2**50
    assert 2**20 < HOST.peak() < HOST.total()


def test_free_memory_of_linux(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory counts as free where the system would give it up, within the limit of the cgroup."""
    monkeypatch.setattr(device_memory, "MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(device_memory, "CGROUP", tmp_path)
    assert 2**20 < HOST.free() < 2**50  # as on other systems than Linux
    (tmp_path / "meminfo").write_text("MemFree:  1000 kB\nMemAvailable:  3000 kB\n")
    assert HOST.free() == 3000 * 1024
    (tmp_path / "memory.current").write_text("1000\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert HOST.free() == 3000 * 1024
    assert HOST.total() > 5000
    (tmp_path / "memory.max").write_text("5000\n")
    assert (HOST.free(), HOST.total()) == (4000, 5000)


def test_peak_of_linux(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_memory, "PROCESS", tmp_path)
    assert 2**20 < HOST.peak() < 2**50  # as on other systems than Linux
    (tmp_path / "status").write_text("VmPeak:\t 900 kB\nVmHWM:\t 300 kB\n")
    assert HOST.peak() == 300 * 1024


def test_allocator(monkeypatch: pytest.MonkeyPatch) -> None:
    """Free is what the device has free, and what the allocator keeps without a tensor in it."""
    allocator = FakeAllocator(monkeypatch, total=1000, others=100)
    memory = memory_of(DEVICE)
    assert isinstance(memory, AllocatorMemory)
    allocator.allocate(300)
    allocator.free(250)
    assert (memory.total(), memory.free(), memory.allocated()) == (1000, 850, 50)
    assert (memory.peak(), memory.peak_reserved()) == (300, 300)
    memory.reset_peak()
    assert (memory.peak(), memory.peak_reserved()) == (50, 300)
    memory.release_cache()
    assert (allocator.reserved, memory.free()) == (50, 850)


def test_cpu_asks_no_accelerator(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU that a run on the CPU does not use is not started."""

    def refuse(*_: object) -> None:
        raise AssertionError

    for name in [name for name in torch.accelerator.__all__ if callable(getattr(torch.accelerator, name))]:
        monkeypatch.setattr(torch.accelerator, name, refuse)
    memory = memory_of(torch.device("cpu"))
    assert isinstance(memory, HostMemory)
    assert memory.total() > 0


@pytest.mark.parametrize("name", ["memory_stats", "get_memory_info"])
def test_device_without_counts(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where torch does not count for a kind of device, its memory is that of the host."""

    def refuse(device: torch.device) -> None:
        raise RuntimeError("Allocator for mps is not a DeviceAllocator.")

    FakeAllocator(monkeypatch, total=1000)
    monkeypatch.setattr(torch.accelerator, name, refuse)
    assert isinstance(memory_of(DEVICE), HostMemory)


@pytest.mark.parametrize(("share", "expected"), [(1.0, 1000 - 100 - 200), (0.5, 500 - 200)])
def test_shares_of_a_gpu(monkeypatch: pytest.MonkeyPatch, share: float, expected: float) -> None:
    """A worker of a search that shares its GPU has no more than its share, also where others use little of it."""
    allocator = FakeAllocator(monkeypatch, total=1000, others=100)
    monkeypatch.setattr(torch.cuda, "get_per_process_memory_fraction", lambda device: share)
    allocator.allocate(200)
    assert AllocatorMemory(torch.device("cuda", 0)).free() == expected
