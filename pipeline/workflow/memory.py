"""Measures how much memory a stage needs at most."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

_PROC = Path("/proc/self")
_MB = 2**20


@contextmanager
def measure_peak_memory() -> Iterator[Callable[[], dict[str, float | None]]]:
    """Yield a function that returns the peak memory in MB since the block began.

    `process_mb` is the resident memory of this process, `device_mb` what is allocated on a device with memory of its
    own (None without one).
    """
    _reset_peaks()
    yield lambda: {"process_mb": peak_rss_mb(), "device_mb": _device_peak_mb()}


def peak_rss_mb() -> float:
    """Return the highest resident memory of this process in MB since the last reset, or ever where no reset works."""
    with contextlib.suppress(OSError):
        if match := re.search(r"VmHWM:\s+(\d+) kB", (_PROC / "status").read_text()):
            return round(int(match[1]) / 1024, 1)
    import resource  # not on Windows

    unit = 1 if sys.platform == "darwin" else 1024
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / _MB, 1)


def _device_peak_mb() -> float | None:
    return round(torch.accelerator.max_memory_allocated() / _MB, 1) if torch.accelerator.is_available() else None


def _reset_peaks() -> None:
    """Let peaks count from now on. Where the system cannot (not Linux), they stay those of the whole process."""
    with contextlib.suppress(OSError):
        (_PROC / "clear_refs").write_text("5")
    if torch.accelerator.is_available():
        torch.accelerator.reset_peak_memory_stats()
