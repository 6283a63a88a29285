"""Warm worker processes: torch and Lightning are imported once, in a parent that forks a worker in milliseconds.

The parent is Python's own fork server. It is asked to begin as soon as the program knows that there will be a search,
so that it imports while the configuration is composed; a worker that dies is replaced at once.
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

from pipeline.search.settings import available_cores

PRELOADED = ["pipeline.search.workers.preload"]
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def start_forkserver(threads: int) -> None:
    """Let the parent of the workers begin to import. The number of threads must be known before torch is."""
    for name in _THREADS:
        os.environ.setdefault(name, str(threads))
    if multiprocessing.get_start_method(allow_none=True) not in (None, *multiprocessing.get_all_start_methods()):
        multiprocessing.set_start_method("forkserver", force=True)  # joblib's own, which our children do not know
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    # Ctrl-C is ours alone: the parent would end in the middle of its imports, and say so at length
    resource_tracker.ensure_running()  # which would unblock the signal again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def kill_forkserver() -> None:
    """End the parent of the workers: a program that ends early is not kept waiting for what it imports."""
    pid = getattr(forkserver._forkserver, "_forkserver_pid", None)
    if pid is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@dataclass(frozen=True)
class TaskDone:
    """A task's result."""

    tag: Any
    worker: str
    result: Any


@dataclass(frozen=True)
class PruneRequest:
    """A running trial asks whether it is hopeless; `answer` tells it."""

    tag: Any
    epoch: int
    score: float
    connection: Connection

    def answer(self, hopeless: bool) -> None:
        self.connection.send(hopeless)


@dataclass(frozen=True)
class WorkerDied:
    """A worker ended under a task; `queued` ones were not begun."""

    tag: Any
    queued: tuple[Any, ...]
    reason: str


@dataclass
class _Worker:
    name: str
    process: Any
    connection: Connection
    pending: deque[Any] = field(default_factory=deque)


class WorkerPool:
    """`n` workers with a queue of their own, the task that runs and at most one behind it."""

    def __init__(self, n: int, *, threads: int):
        self.threads = min(threads, int(os.environ.get("OMP_NUM_THREADS", threads) or threads), available_cores())
        start_forkserver(self.threads)
        self._context = multiprocessing.get_context("forkserver")
        self._started = 0
        self._workers = [self._new() for _ in range(n)]

    def _new(self) -> _Worker:
        ours, theirs = self._context.Pipe()
        name = f"{os.getpid()}-{self._started}"
        self._started += 1
        process = self._context.Process(target=_work, args=(theirs, self.threads), daemon=True)
        process.start()
        theirs.close()
        return _Worker(name, process, ours)

    def has_capacity(self, depth: int) -> bool:
        """Whether a worker has fewer than `depth` tasks."""
        return any(len(worker.pending) < depth for worker in self._workers)

    def busy(self) -> bool:
        return any(worker.pending for worker in self._workers)

    def pending(self) -> list[Any]:
        """Of all tasks that were given and not answered."""
        return [tag for worker in self._workers for tag in worker.pending]

    def submit(self, tag: Any, task: Any) -> None:
        """To the worker with the fewest tasks. One that has died meanwhile is noticed by `events`."""
        worker = min(self._workers, key=lambda worker: len(worker.pending))
        worker.pending.append(tag)
        with contextlib.suppress(OSError):
            worker.connection.send(task)

    def poll(self, timeout: float) -> Iterator[TaskDone | PruneRequest | WorkerDied]:
        """What happened; waits until something does, at most `timeout` seconds."""
        by_connection = {worker.connection: worker for worker in self._workers}
        for connection in wait(list(by_connection), timeout):
            worker = by_connection[connection]  # type: ignore[index]
            try:
                kind, *content = worker.connection.recv()
            except (EOFError, OSError):
                yield from self._buried(worker)
                continue
            if kind == "asks":
                epoch, score = content
                yield PruneRequest(worker.pending[0], epoch, score, worker.connection)
            else:
                yield TaskDone(worker.pending.popleft(), worker.name, *content)

    def map(self, tasks: Sequence[Any]) -> list[Any]:
        """The tasks' results in their order; what a worker died of is an exception among them."""
        results: dict[int, Any] = {}
        left = list(enumerate(tasks))[::-1]
        while len(results) < len(tasks):
            while left and self.has_capacity(1):
                self.submit(*left.pop())
            for event in self.poll(0.2):
                died = isinstance(event, WorkerDied)
                results[event.tag] = RuntimeError(event.reason) if died else event.result  # type: ignore[union-attr]
        return [results[i] for i in range(len(tasks))]

    def _buried(self, worker: _Worker) -> Iterator[WorkerDied]:
        worker.process.join(5)
        code = worker.process.exitcode
        self._workers[self._workers.index(worker)] = self._new()
        if worker.pending:
            first, *queued = worker.pending
            yield WorkerDied(first, tuple(queued), _reason(code))

    def close(self) -> None:
        """End the workers at once; what they were doing is lost."""
        for worker in self._workers:
            worker.process.kill()
        for worker in self._workers:
            worker.process.join()
            worker.connection.close()


def _reason(code: int | None) -> str:
    if code is not None and code < 0:
        try:
            return f"its worker was ended by {signal.Signals(-code).name}"
        except ValueError:
            return f"its worker was ended by signal {-code}"
    return f"its worker ended with code {code}"


def _work(connection: Connection, threads: int) -> None:
    """The life of a worker: tasks until there are no more, or until the process that gives them is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the giver's matter
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    import gc

    import torch

    from pipeline.search.workers.worker import TrialRunner
    from pipeline.workflow.runner import silence_library_warnings, tune_glibc_malloc

    torch.set_num_threads(threads)
    tune_glibc_malloc()
    gc.freeze()  # what was imported is never collected: no need to look at it again and again
    gc.enable()  # the parent of the workers imports without

    def ask(epoch: int, score: float) -> bool:
        connection.send(("asks", epoch, score))
        return bool(connection.recv())

    runner = TrialRunner(ask)
    with silence_library_warnings():
        while True:
            try:
                task = connection.recv()
            except (EOFError, OSError):
                return
            connection.send(("done", runner.run(task)))


def _exit_with_parent() -> None:
    """A worker whose giver was killed ends at once: its trial is given to another."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
