"""Preloaded into the fork server of a test: torch finds the GPUs that the test names, and counts them without CUDA.

Only the driver's answers are simulated. How torch reads CUDA_VISIBLE_DEVICES, and what a process sees in its
environment, are real.
"""

from __future__ import annotations

import os
from typing import Any

import torch

from pipeline.search.workers.worker import TrialRunner

UUIDS = os.environ.get("SIMULATED_GPUS", "").split()
ASKED: list[Any] = []
"""What was asked of CUDA in this process, each with the GPUs that it saw then."""


def _visible() -> str | None:
    return os.environ.get("CUDA_VISIBLE_DEVICES")


def _ask_cuda() -> int:
    """Count the GPUs as the CUDA runtime does, which settles what a process and its children see."""
    ASKED.append(("count", _visible()))
    return 1


def _limit_memory(fraction: float) -> None:
    ASKED.append((fraction, _visible()))


def _report(runner: TrialRunner, task: Any) -> dict[str, Any]:
    if task == "die":
        os._exit(1)
    return {"pid": os.getpid(), "visible": _visible(), "asked": ASKED}


torch.cuda._is_compiled = lambda: True
torch.cuda._raw_device_count_nvml = lambda: len(UUIDS)
torch.cuda._raw_device_uuid_nvml = lambda: UUIDS
torch._C._cuda_getDeviceCount = _ask_cuda
torch.cuda.set_per_process_memory_fraction = _limit_memory
TrialRunner.run = _report  # type: ignore[method-assign]
