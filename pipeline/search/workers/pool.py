"""The workers of one process. A worker that dies is replaced at once."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Any

from pipeline.search.workers.forkserver import start_forkserver
from pipeline.search.workers.gpus import GpuShare
from pipeline.search.workers.process import run_worker
from pipeline.workflow.process_setup import available_cores

POLL_SECONDS = 0.2
"""Longest wait of `WorkerPool.map` for one event."""
EXIT_SECONDS = 5
"""Longest wait for the exit code of a worker that has closed its connection."""


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

    A tag is any value by which the caller recognizes a task. `gpus` are the shares of the workers, or none. A worker
    that replaces another takes its share.
    """

    def __init__(self, n: int, *, threads: int, gpus: Sequence[GpuShare] = ()):
        self.threads = min(threads, int(os.environ.get("OMP_NUM_THREADS", threads) or threads), available_cores())
        start_forkserver(self.threads)
        self._context = multiprocessing.get_context("forkserver")
        self._n_started = 0
        self._gpus = gpus
        self._workers = [self._start_worker(i) for i in range(n)]

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

    def _start_worker(self, index: int) -> _Worker:
        connection, worker_connection = self._context.Pipe()
        name = f"{os.getpid()}-{self._n_started}"
        self._n_started += 1
        args = (worker_connection, self.threads, self._gpus[index] if self._gpus else None)
        process = self._context.Process(target=run_worker, args=args, daemon=True)
        process.start()
        worker_connection.close()
        return _Worker(name, process, connection)

    def _replace_worker(self, worker: _Worker) -> Iterator[WorkerDied]:
        worker.process.join(EXIT_SECONDS)
        exit_code = worker.process.exitcode
        index = self._workers.index(worker)
        self._workers[index] = self._start_worker(index)
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
