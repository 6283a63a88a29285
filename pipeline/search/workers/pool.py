"""Worker processes that are ready at once: a parent imports torch and Lightning, and forks workers in milliseconds.

The parent is Python's own fork server. It starts as soon as the program knows that it will search, so it imports while
the configuration is composed. A worker that dies is replaced at once.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection, wait
from typing import Any

from pipeline.workflow.process_setup import available_cores

PRELOADED = ["pipeline.search.workers.preload"]
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
POLL_SECONDS = 0.2
"""Longest wait of `WorkerPool.map` for one event."""
EXIT_SECONDS = 5
"""Longest wait for the exit code of a worker that has closed its connection."""


def start_forkserver(threads: int) -> None:
    """Start the parent of the workers, which begins to import. torch must know the number of threads before that."""
    for name in _THREAD_VARIABLES:
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
    """Kill the parent of the workers, so that a program that ends early does not wait for its imports."""
    pid = getattr(forkserver._forkserver, "_forkserver_pid", None)
    if pid is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@dataclass(frozen=True)
class TaskDone:
    """The result of a task."""

    tag: Any
    worker: str
    result: Any


@dataclass(frozen=True)
class PruneRequest:
    """The question of a running trial whether it is to stop; it waits for the `answer`."""

    tag: Any
    epoch: int
    score: float
    connection: Connection

    def answer(self, should_prune: bool) -> None:
        self.connection.send(should_prune)


@dataclass(frozen=True)
class WorkerDied:
    """The death of a worker during a task. The tasks of the tags `queued` had not begun."""

    tag: Any
    queued: tuple[Any, ...]
    reason: str


Event = TaskDone | PruneRequest | WorkerDied


@dataclass
class _Worker:
    name: str
    process: Any
    connection: Connection
    pending: deque[Any] = field(default_factory=deque)
    """Tags of the tasks that it was given and has not finished."""


class WorkerPool:
    """`n` workers, each with its own queue of tasks: the one that runs, and at most one behind it.

    A tag is any value by which the caller recognizes a task.
    """

    def __init__(self, n: int, *, threads: int):
        self.threads = min(threads, int(os.environ.get("OMP_NUM_THREADS", threads) or threads), available_cores())
        start_forkserver(self.threads)
        self._context = multiprocessing.get_context("forkserver")
        self._n_started = 0
        self._workers = [self._start_worker() for _ in range(n)]

    def has_capacity(self, depth: int) -> bool:
        """Whether a worker has fewer than `depth` tasks."""
        return any(len(worker.pending) < depth for worker in self._workers)

    def is_busy(self) -> bool:
        """Whether a worker has a task."""
        return any(worker.pending for worker in self._workers)

    def submit(self, tag: Any, task: Any) -> None:
        """Give the task to the worker with the fewest tasks. `poll` notices a worker that has died meanwhile."""
        worker = min(self._workers, key=lambda worker: len(worker.pending))
        worker.pending.append(tag)
        with contextlib.suppress(OSError):
            worker.connection.send(task)

    def poll(self, timeout: float) -> Iterator[Event]:
        """Yield the events that have happened. If there are none, wait for one, at most `timeout` seconds."""
        by_connection = {worker.connection: worker for worker in self._workers}
        for connection in wait(list(by_connection), timeout):
            worker = by_connection[connection]  # type: ignore[index]
            try:
                kind, *content = worker.connection.recv()
            except (EOFError, OSError):
                yield from self._replace_worker(worker)
                continue
            if kind == "prune_request":
                epoch, score = content
                yield PruneRequest(worker.pending[0], epoch, score, worker.connection)
            else:
                yield TaskDone(worker.pending.popleft(), worker.name, *content)

    def map(self, tasks: Sequence[Any]) -> list[Any]:
        """Run the tasks and return their results in order. The result is a `RuntimeError` if the worker died."""
        results: dict[int, Any] = {}
        remaining = list(enumerate(tasks))[::-1]
        while len(results) < len(tasks):
            while remaining and self.has_capacity(1):
                self.submit(*remaining.pop())
            for event in self.poll(POLL_SECONDS):
                died = isinstance(event, WorkerDied)
                results[event.tag] = RuntimeError(event.reason) if died else event.result  # type: ignore[union-attr]
        return [results[i] for i in range(len(tasks))]

    def close(self) -> None:
        """Kill the workers. The tasks that they run are lost."""
        for worker in self._workers:
            worker.process.kill()
        for worker in self._workers:
            worker.process.join()
            worker.connection.close()

    def _start_worker(self) -> _Worker:
        connection, worker_connection = self._context.Pipe()
        name = f"{os.getpid()}-{self._n_started}"
        self._n_started += 1
        process = self._context.Process(target=run_worker, args=(worker_connection, self.threads), daemon=True)
        process.start()
        worker_connection.close()
        return _Worker(name, process, connection)

    def _replace_worker(self, worker: _Worker) -> Iterator[WorkerDied]:
        worker.process.join(EXIT_SECONDS)
        exit_code = worker.process.exitcode
        self._workers[self._workers.index(worker)] = self._start_worker()
        if worker.pending:
            current, *queued = worker.pending
            yield WorkerDied(current, tuple(queued), _reason_of_death(exit_code))


def _reason_of_death(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        try:
            return f"its worker was killed by {signal.Signals(-exit_code).name}"
        except ValueError:
            return f"its worker was killed by signal {-exit_code}"
    return f"its worker ended with exit code {exit_code}"


def run_worker(connection: Connection, threads: int) -> None:
    """Run tasks in a worker process, until the connection is closed or the parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is handled by the process that gives the tasks
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    import gc

    import torch

    from pipeline.search.workers.worker import TrialRunner
    from pipeline.workflow.process_setup import configure_process, silence_library_warnings

    torch.set_num_threads(threads)
    configure_process()
    gc.freeze()  # imported objects are never collected, so there is no need to search them again and again
    gc.enable()  # the fork server imports without

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
