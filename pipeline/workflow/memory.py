"""Measures how much memory a stage needs at most."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from pipeline.training.device_memory import AllocatorMemory, HostMemory, memory_of


@contextmanager
def measure_peak_memory(device: torch.device) -> Iterator[Callable[[], dict[str, float | None]]]:
    """Yield a function that returns the peak memory in MB since the block began.

    `process_mb` is the resident memory of this process, `device_mb` what its tensors take on a `device` with memory of
    its own (None for the CPU). For such a device there are also `device_reserved_mb`, with what torch's allocator keeps
    for the next tensors, and `device_total_mb`, what the device has.
    """
    host, memory = HostMemory(), memory_of(device)
    host.reset_peak()
    if isinstance(memory, AllocatorMemory):
        memory.reset_peak()

    def peaks() -> dict[str, float | None]:
        peaks: dict[str, float | None] = {"process_mb": _megabytes(host.peak()), "device_mb": None}
        if isinstance(memory, AllocatorMemory):
            peaks["device_mb"] = _megabytes(memory.peak())
            peaks["device_reserved_mb"] = _megabytes(memory.peak_reserved())
            peaks["device_total_mb"] = _megabytes(memory.total())
        return peaks

    yield peaks


def _megabytes(size: float) -> float:
    return round(size / 2**20, 1)
