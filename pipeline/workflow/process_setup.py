"""Settings of this process that make a run faster or quieter. None of them changes a result.

Nothing here happens when `pipeline` is imported: the program, `pipeline.run()` and the processes that they start call
`configure_process()`. The environment variable PIPELINE_TUNING=off turns all of it off.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import gc
import logging
import os
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LIBGOMP_SPINCOUNT = 300_000
"""How often a waiting OpenMP thread looks again before it sleeps: libgomp's own default."""
GC_THRESHOLD = 50_000
"""Imports make a million objects that stay. A garbage collection after every 700th takes a seventh of the start."""
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of <malloc.h>


def configure_process() -> None:
    """Tune garbage collection, memory and OpenMP for this process and those it starts.

    Call it before torch is imported: how OpenMP's threads wait is settled then.
    """
    if os.environ.get("PIPELINE_TUNING", "").lower() == "off":
        return
    gc.set_threshold(GC_THRESHOLD)
    tune_openmp()
    tune_glibc_malloc()


def tune_openmp() -> None:
    """Let OpenMP's threads sleep at once on a busy machine, and spin as libgomp does on a quiet one.

    Beside other work, a thread that spins takes the core from the thread it waits for, and a small step takes several
    times as long. On a quiet machine sleeping early only makes it slower (docs/LOG.md). Both cases are set, since
    processes that this one starts would take their parent for other work. What the user has set is respected, and
    after torch is imported it is too late.
    """
    if "torch" in sys.modules or {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & os.environ.keys():
        return
    os.environ["GOMP_SPINCOUNT"] = "0" if _cores_are_busy() else str(LIBGOMP_SPINCOUNT)


def tune_glibc_malloc() -> None:
    """Let glibc keep freed blocks, since the next step asks for the same ones.

    Giving pages back and fetching them again took 10 % of a convolutional step on the CPU (docs/LOG.md). Without glibc
    nothing happens.
    """
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(_M_MMAP_THRESHOLD, 32 * 2**20)  # the highest value that glibc accepts
        libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def freeze_imports() -> None:
    """Exempt everything that exists now from garbage collection: what was imported is never collected."""
    gc.freeze()
    gc.enable()  # the fork server that starts workers imports with garbage collection off


def available_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


def _cores_are_busy(loadavg: Path = Path("/proc/loadavg")) -> bool:
    """Return whether other work leaves too few cores for OpenMP's threads. Only Linux says how many threads run."""
    cores = os.cpu_count() or 1
    requested = os.environ.get("OMP_NUM_THREADS", "")
    threads = int(requested) if requested.isdecimal() else available_cores()
    for _ in range(5):  # a thread that runs for a millisecond is no work
        try:
            running = int(loadavg.read_text().split()[3].partition("/")[0])
        except (OSError, ValueError, IndexError):
            return False
        if running - 1 + threads <= cores:  # this thread is one of those that run
            return False
        time.sleep(0.001)
    return True


@functools.cache
def cache_entry_points() -> None:
    """Let Lightning read the entry points of the installed packages once.

    Each Trainer reads them, for callbacks that register themselves: 30 to 50 ms for each stage and each trial of a
    search. What is installed does not change while a process runs.
    """
    from lightning_fabric.utilities import registry

    setattr(registry, "entry_points", functools.cache(registry.entry_points))  # noqa: B010 - mypy knows a function


@contextmanager
def silence_library_warnings() -> Iterator[None]:
    """Hide Lightning's greetings, and warnings that a user of this pipeline cannot act on, while the block runs."""
    names = ("pytorch_lightning", "lightning_fabric", "lightning", "pytorch_lightning.utilities.rank_zero",
             "lightning_fabric.utilities.distributed", "torch.utils.cpp_extension")  # fmt: skip
    levels = {name: logging.getLogger(name).level for name in names}
    os.environ.setdefault("POSSIBLE_USER_WARNINGS", "off")  # Lightning's own switch for warnings that may not apply
    for name in names:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings(
                "ignore",
                module=r"(pytorch_lightning|lightning_fabric|torch)(\..*)?$",
            )
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
