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
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

LIBGOMP_SPINCOUNT = 300_000
"""How often a waiting OpenMP thread looks again before it sleeps: libgomp's own default."""
GC_THRESHOLD = 50_000
"""Imports make a million objects that stay. A garbage collection after every 700th takes a seventh of the start."""
_NO_DETERMINISTIC_FORM = "does not have a deterministic implementation"
"""torch's warning, which begins with the name of the operation."""
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


def fix_cublas_workspace() -> None:
    """Let cuBLAS compute in a fixed order; it reads the variable when the first matrix is multiplied on a GPU."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


@contextmanager
def deterministic_algorithms(wanted: bool) -> Iterator[list[str]]:
    """Let torch compute in a fixed order while the block runs, so that the same program gives the same bits.

    Yields a list, which receives the names of operations that have no such form; they run as they are. On the CPU torch
    is deterministic anyway.
    """
    operations: list[str] = []
    if not wanted:
        yield operations
        return
    import torch

    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    cudnn = torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark

    try:
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
        with warnings.catch_warnings():
            warnings.filterwarnings("always", message=f".*{_NO_DETERMINISTIC_FORM}")
            warnings.showwarning = functools.partial(_note_operation, operations, warnings.showwarning)
            yield operations
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = cudnn


def _note_operation(
    operations: list[str], show: Callable[..., None], message: Warning | str, *more: Any, **named: Any
) -> None:
    """Add the operation that a warning of torch's is about; `show` other warnings."""
    if _NO_DETERMINISTIC_FORM not in str(message):
        show(message, *more, **named)
    elif (name := str(message).split()[0]) not in operations:
        operations.append(name)


@contextmanager
def silence_library_warnings() -> Iterator[None]:
    """Hide Lightning's greetings, and warnings that a user of this pipeline cannot act on, while the block runs."""
    names = ("pytorch_lightning", "lightning_fabric", "lightning", "pytorch_lightning.utilities.rank_zero",
             "lightning_fabric.utilities.distributed", "torch.utils.cpp_extension")  # fmt: skip
    os.environ.setdefault("POSSIBLE_USER_WARNINGS", "off")  # Lightning's own switch for warnings that may not apply
    with contextlib.ExitStack() as stack:
        for name in names:
            stack.enter_context(_hold_at_error(logging.getLogger(name)))
        stack.enter_context(warnings.catch_warnings())
        warnings.filterwarnings(
            "ignore",
            module=r"(pytorch_lightning|lightning_fabric|torch)(\..*)?$",
        )
        for message in ("Using `torch.compile.module.` when there are global hooks", "Lazy modules are a new feature"):
            warnings.filterwarnings("ignore", message)
        yield


class _HeldLogger(logging.Logger):
    """A logger whose level cannot be set."""

    def setLevel(self, level: int | str) -> None:
        """Do nothing."""


@contextmanager
def _hold_at_error(logger: logging.Logger) -> Iterator[None]:
    """Let `logger` and those below it pass errors only while the block runs, and set its level back then.

    Lightning sets the level of its loggers to INFO when it is imported, which may be inside the block.
    """
    level, kind = logger.level, logger.__class__
    logger.setLevel(logging.ERROR)
    logger.__class__ = _HeldLogger
    try:
        yield
    finally:
        logger.__class__ = kind
        logger.setLevel(level)
