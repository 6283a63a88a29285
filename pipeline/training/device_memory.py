"""The memory of the CPU and of accelerators: what there is, what is free, and what this process has used at most."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from pathlib import Path

import torch

MEMINFO, CGROUP, PROCESS = Path("/proc/meminfo"), Path("/sys/fs/cgroup"), Path("/proc/self")
"""Where Linux says how much memory is free, the limits of this process, and what it uses."""


class HostMemory:
    """The memory of the machine, within the limit of this process's cgroup. All sizes are in bytes."""

    def total(self) -> float:
        installed = float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
        with contextlib.suppress(OSError, ValueError):  # "max" means no limit
            return min(installed, float(int((CGROUP / "memory.max").read_text())))
        return installed

    def free(self) -> float:
        """Return the free memory, with caches that the system would give up."""
        free = float(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
        with contextlib.suppress(OSError):
            lines = MEMINFO.read_text().splitlines()
            free = next(float(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
        with contextlib.suppress(OSError, ValueError):
            limit, used = ((CGROUP / name).read_text() for name in ("memory.max", "memory.current"))
            free = min(free, float(int(limit) - int(used)))
        return free

    def peak(self) -> float:
        """Return the highest resident memory of this process since the last reset, or ever where no reset works."""
        with contextlib.suppress(OSError):
            if match := re.search(r"VmHWM:\s+(\d+) kB", (PROCESS / "status").read_text()):
                return float(match[1]) * 1024
        import resource  # not on Windows

        return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024))

    def reset_peak(self) -> None:
        """Let the peak count from now on. Where the system cannot (not Linux), it stays that of the whole process."""
        with contextlib.suppress(OSError):
            (PROCESS / "clear_refs").write_text("5")

    def release_cache(self) -> None:
        """Do nothing: torch keeps no blocks of it."""


class AllocatorMemory:
    """The memory of an accelerator. torch's allocator reserves blocks of it, and allocates tensors within them.

    All sizes are in bytes. Before this process has used the device, what it has allocated is 0.
    """

    def __init__(self, device: torch.device):
        self.device = device

    def total(self) -> float:
        return float(torch.accelerator.get_memory_info(self.device)[1])

    def free(self) -> float:
        """Return what tensors can still take: what is free on the device, and the unused parts of reserved blocks.

        Where several processes have shares of the device (workers of a search), what is left of this one's.
        """
        free = torch.accelerator.get_memory_info(self.device)[0] + torch.accelerator.memory_reserved(self.device)
        return float(min(free, self._share() * self.total()) - self.allocated())

    def _share(self) -> float:
        """Return the share of the device's memory that torch's allocator may take."""
        return torch.cuda.get_per_process_memory_fraction(self.device) if self.device.type == "cuda" else 1.0

    def allocated(self) -> int:
        return torch.accelerator.memory_allocated(self.device)

    def peak(self) -> int:
        """Return the most that was allocated since the last reset."""
        return torch.accelerator.max_memory_allocated(self.device)

    def peak_reserved(self) -> int:
        """Return the most that was reserved since the last reset."""
        return torch.accelerator.max_memory_reserved(self.device)

    def reset_peak(self) -> None:
        torch.accelerator.reset_peak_memory_stats(self.device)

    def release_cache(self) -> None:
        """Give blocks that no tensor is in back to the device."""
        torch.accelerator.empty_cache()


def memory_of(device: torch.device) -> HostMemory | AllocatorMemory:
    """Return the memory that tensors on `device` take.

    Nothing is asked of an accelerator for the CPU: that alone would start it, and take some of its memory.
    """
    if device.type == "cpu":
        return HostMemory()
    try:
        torch.accelerator.memory_stats(device)
        torch.accelerator.get_memory_info(device)
    except RuntimeError:  # torch does not count for this kind of device (mps), which shares the host's memory
        return HostMemory()
    return AllocatorMemory(device)
