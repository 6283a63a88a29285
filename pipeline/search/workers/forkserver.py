"""The parent of all workers: it imports torch and Lightning once, and forks a worker in milliseconds.

The parent is Python's own fork server. It starts as soon as the program knows that it will search, so it imports while
the configuration is composed.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
from multiprocessing import forkserver, resource_tracker
from typing import Any

PRELOADED = ["pipeline.search.workers.preload"]
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def start_forkserver(threads: int) -> None:
    """Start the parent of the workers, which begins to import. torch must know the number of threads before that."""
    for name in THREAD_VARIABLES:
        os.environ.setdefault(name, str(threads))
    if multiprocessing.get_start_method(allow_none=True) not in (None, *multiprocessing.get_all_start_methods()):
        multiprocessing.set_start_method("forkserver", force=True)  # joblib sets one that our children do not know
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    # The parent must not see Ctrl-C: it would end in the middle of its imports with a long traceback.
    resource_tracker.ensure_running()  # it would unblock the signal
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def kill_forkserver() -> None:
    """Kill the parent of the workers.

    Else it would end after this program, by two seconds with all that it has imported, and by more if it still imports.
    Whoever reads the program's output through a pipe would wait for it, since the pipe is open in both.
    """
    server: Any = forkserver._forkserver
    if server._forkserver_pid is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(server._forkserver_pid, signal.SIGKILL)
        server._stop()  # waits for it, so that the next search of this process starts another
