"""A stand-in for torch's allocator of a device, which counts what a test says was allocated."""

from __future__ import annotations

from typing import Any

import pytest
import torch

DEVICE = torch.device("meta")
"""A device without memory, on which tensors can be made on any machine."""


class FakeAllocator:
    """Answers for `torch.accelerator`. All sizes are in bytes.

    The device has `total`; other programs use `others`. `allocate` and `free` change what this process has, which the
    allocator keeps reserved until its cache is emptied. What is beyond the total raises `torch.OutOfMemoryError`.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, total: int, others: int = 0):
        self.total, self.others = total, others
        self.allocated = self.reserved = self.peak = self.peak_reserved = 0
        self.emptied = 0
        answers: dict[str, Any] = {
            "memory_stats": lambda device: {},
            "get_memory_info": lambda device: (total - others - self.reserved, total),
            "memory_allocated": lambda device: self.allocated,
            "memory_reserved": lambda device: self.reserved,
            "max_memory_allocated": lambda device: self.peak,
            "max_memory_reserved": lambda device: self.peak_reserved,
            "reset_peak_memory_stats": self._reset_peak,
            "empty_cache": self._empty_cache,
            "synchronize": lambda device: None,
        }
        for name, answer in answers.items():
            monkeypatch.setattr(torch.accelerator, name, answer)

    def allocate(self, size: int) -> None:
        if self.allocated + size > self.total - self.others:
            raise torch.OutOfMemoryError(f"CUDA out of memory. Tried to allocate {size} bytes.")
        self.allocated += size
        self.peak, self.reserved = max(self.peak, self.allocated), max(self.reserved, self.allocated)
        self.peak_reserved = max(self.peak_reserved, self.reserved)

    def free(self, size: int) -> None:
        self.allocated -= size

    def _reset_peak(self, device: torch.device) -> None:
        self.peak, self.peak_reserved = self.allocated, self.reserved

    def _empty_cache(self) -> None:
        self.reserved = self.allocated
        self.emptied += 1
