"""How much memory a stage needed at most."""

from __future__ import annotations

import contextlib
import dataclasses
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from pipeline.workflow.components import Components, Outcome

_PROC = Path("/proc/self")
_MB = 2**20


def run_stage_with_memory(parts: Components, name: str, earlier: Sequence[Outcome]) -> Outcome:
    """The stage's outcome, with its peak memory: of this process (resident), and of the device, if it has its own."""
    _reset_peaks()
    outcome = parts.stages[name](parts, earlier)
    return dataclasses.replace(outcome, memory={"process_mb": peak_rss_mb(), "device_mb": _device_peak_mb()})


def peak_rss_mb() -> float:
    """The most that this process had in memory, since it was last forgotten or ever."""
    with contextlib.suppress(OSError):
        if found := re.search(r"VmHWM:\s+(\d+) kB", (_PROC / "status").read_text()):
            return round(int(found[1]) / 1024, 1)
    import resource  # not on Windows

    unit = 1 if sys.platform == "darwin" else 1024
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / _MB, 1)


def _device_peak_mb() -> float | None:
    return round(torch.accelerator.max_memory_allocated() / _MB, 1) if torch.accelerator.is_available() else None


def _reset_peaks() -> None:
    """From here on peaks count anew; where the system cannot (not Linux), they stay those of the whole process."""
    with contextlib.suppress(OSError):
        (_PROC / "clear_refs").write_text("5")
    if torch.accelerator.is_available():
        torch.accelerator.reset_peak_memory_stats()
