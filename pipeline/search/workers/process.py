"""A worker process, from its start to its end."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from multiprocessing.connection import Connection

from pipeline.search.workers.gpus import GpuShare


def run_worker(connection: Connection, threads: int, gpus: GpuShare | None = None) -> None:
    """Run tasks in a worker process, until the connection is closed or the parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is handled by the process that gives the tasks
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    if gpus is not None:
        gpus.claim()
    import torch

    from pipeline.search.workers.worker import TrialRunner
    from pipeline.workflow.process_setup import configure_process, freeze_imports, silence_library_warnings

    torch.set_num_threads(threads)
    configure_process()
    freeze_imports()

    def should_prune(epoch: int, score: float) -> bool:
        connection.send(("prune_request", epoch, score))
        return bool(connection.recv())

    runner = TrialRunner(should_prune)
    with silence_library_warnings():
        while True:
            try:
                task = connection.recv()
            except (EOFError, OSError):
                return
            connection.send(("done", runner.run(task)))


def _exit_with_parent() -> None:
    """End the worker as soon as its parent is gone, since its trial is then given to another worker."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
