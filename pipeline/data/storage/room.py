"""How much memory this process may still take, and how much room a folder has."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

MEMINFO, CGROUPS, OWN_CGROUPS = Path("/proc/meminfo"), Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
"""Where Linux says how much memory is free, and the limits of groups of processes."""
_V2 = ("memory.max", "memory.current", "file")
_V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_cache")


def free_memory() -> int:
    """Return the bytes of memory that this process may still take.

    It is what the machine has free, within the limit of each control group that the process is in, and within its own
    (`ulimit -v`, `ulimit -d`). Pages of files count as free, since the system gives them up.
    """
    with contextlib.suppress(OSError, StopIteration):
        lines = MEMINFO.read_text().splitlines()
        free = 1024 * next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))
        return max(0, min([free, *_free_in_groups(), *_free_of_process()]))
    return int(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))


def free_disk(folder: Path) -> int:
    """Return the free bytes of the file system that `folder`, or the first folder above it that exists, is on."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free


def gigabytes(size: float) -> str:
    """Return `size` (bytes) in words: 3.01 GB, or 12 MB below a tenth of that."""
    return f"{size / 1e9:.2f} GB" if size >= 1e8 else f"{size / 1e6:.0f} MB"


def _free_in_groups() -> Iterator[int]:
    """Yield the free bytes of each control group with a limit, from that of the process up to the root."""
    with contextlib.suppress(OSError):
        for line in OWN_CGROUPS.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers not in ("", "memory"):
                continue
            root = CGROUPS / controllers
            own = root / path.strip("/")
            for folder in dict.fromkeys([own, *own.parents, root]):
                if folder.is_relative_to(root):
                    yield from _free_in_group(folder, _V1 if controllers else _V2)


def _free_in_group(folder: Path, names: tuple[str, str, str]) -> Iterator[int]:
    limit_file, used_file, cache_name = names
    with contextlib.suppress(OSError, ValueError):  # "max" means no limit
        limit, used = int((folder / limit_file).read_text()), int((folder / used_file).read_text())
        statistics = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        yield limit - used + int(statistics.get(cache_name, 0))


def _free_of_process() -> Iterator[int]:
    with contextlib.suppress(ImportError, OSError, ValueError):  # not on Windows
        import resource

        pages = Path("/proc/self/statm").read_text().split()
        size = resource.getpagesize()
        for limit, used in ((resource.RLIMIT_AS, pages[0]), (resource.RLIMIT_DATA, pages[5])):
            soft, _ = resource.getrlimit(limit)
            if soft != resource.RLIM_INFINITY:
                yield soft - int(used) * size
