"""The GPU of this machine: its name, driver and memory, and a wait for what it has to do.

`python -m tests.bench.card` prints the description as JSON, {} without a GPU. Whoever must not hang with a driver, or
hold memory of the card, reads it from there.
"""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import torch


def wait_for(device: torch.device) -> None:
    """Wait until `device` has computed everything, as a clock must. The CPU has when a call returns."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def describe_card() -> dict[str, Any]:
    """Return name, number, driver, CUDA and memory of the GPUs; {} without one.

    `used_gb` is what all processes hold of the first one, this one's context (about 0.5 GB) included: other work makes
    every ratio doubtful.
    """
    if not torch.cuda.is_available():
        return {}
    free, total = torch.cuda.mem_get_info()
    return {
        "card": torch.cuda.get_device_name(),
        "cards": torch.cuda.device_count(),
        "driver": _driver_version(),
        "cuda": torch.version.cuda,
        "memory_gb": round(total / 2**30, 1),
        "used_gb": round((total - free) / 2**30, 1),
        "bf16": torch.cuda.is_bf16_supported(),
    }


def _driver_version() -> str:
    """Return the driver's version from the kernel module, or from nvidia-smi, which containers may lack."""
    with contextlib.suppress(OSError):
        if match := re.search(r"\d+\.\d+[.\d]*", Path("/proc/driver/nvidia/version").read_text()):
            return match[0]
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        return subprocess.check_output(command, text=True, timeout=30).partition("\n")[0].strip() or "unknown"
    return "unknown"


if __name__ == "__main__":
    print(json.dumps(describe_card()))
