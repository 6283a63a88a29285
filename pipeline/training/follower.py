"""A copy of this program that a launcher started, but not the first one: it takes part in the trainings of that one.

For each training it starts the process that the first copy would start if it were on this machine
(`pipeline.training.workers.StartedWorker`), passes on what the two say to each other, and prints and writes nothing.
That a training's process ends is what closes its connections to the others, which would wait for it otherwise; this one
stays, since a launcher may kill all copies as soon as one of them has ended.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import sys
import threading
from types import FrameType
from typing import Any

from pipeline.errors import CRASHED, PASSED, USER_ERROR, Interrupted
from pipeline.training.copies import Connection, connect
from pipeline.training.launcher import LaunchedProcess
from pipeline.training.workers import OVER, READY, StartedWorker, WorkerSpec

_ENDED, _FIRST_ENDED = "ended", "the first copy ended"


def follow(process: LaunchedProcess, *, timeout: float) -> int:
    """Take part in the trainings of the first copy until it ends, and return the exit code of this one.

    It is 0 however the first one ends, unless the training's process here has failed. Raises `UserError` if the first
    one cannot be reached within `timeout` s.
    """
    follower = _Follower(threads=_threads(process), timeout=timeout)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, follower.on_signal)
    try:
        with contextlib.closing(connect(process, timeout=timeout)) as first:
            return follower.run(first)
    except (Interrupted, EOFError):
        return PASSED


class _Follower:
    """Handles one event at a time: messages of the first copy, and what becomes of the training's process."""

    def __init__(self, *, threads: int, timeout: float):
        self.threads, self.timeout = threads, timeout
        self.events: queue.Queue[Any] = queue.Queue()
        self.worker: StartedWorker | None = None
        self.failure: dict[str, Any] | None = None

    def run(self, first: Connection) -> int:
        threading.Thread(target=self._listen_to_first, args=(first,), daemon=True).start()
        while True:
            try:
                event = self.events.get(timeout=self.timeout if self.failure and self.worker else None)
            except queue.Empty:  # the first copy does not react to the failure
                print(self.failure and self.failure["text"], file=sys.stderr)
                event = _FIRST_ENDED
            if event in (OVER, _FIRST_ENDED):
                if self.worker:
                    self.worker.end()
                self.worker = None
            if event == _FIRST_ENDED:
                return self.failure["code"] if self.failure else PASSED
            if event == READY:
                first.send(READY)
            elif event == _ENDED and self.worker and (failed := self.worker.failure()):
                self.failure = {"code": failed[0] if failed[0] == USER_ERROR else CRASHED, "text": failed[1]}
                first.send(self.failure)
            elif isinstance(event, dict):
                self.failure = None  # with `fix=true` a run can go on after a training that failed
                self.worker = StartedWorker(WorkerSpec(**event), threads=self.threads)
                threading.Thread(target=self._listen_to_worker, args=(self.worker,), daemon=True).start()

    def on_signal(self, number: int, _frame: FrameType | None) -> None:
        """Pass the signal on: the training stops in all processes at once. Outside a training, end: the first does."""
        if self.worker is None:
            raise Interrupted(number)
        self.worker.process.send_signal(number)

    def _listen_to_first(self, first: Connection) -> None:
        try:
            while True:
                self.events.put(first.receive())
        except EOFError:
            self.events.put(_FIRST_ENDED)

    def _listen_to_worker(self, worker: StartedWorker) -> None:
        with contextlib.suppress(RuntimeError):  # it has failed, and ends
            worker.wait_until_ready()
            self.events.put(READY)
        worker.process.wait()
        self.events.put(_ENDED)


def _threads(process: LaunchedProcess) -> int:
    """Return the threads of a training's process: its share of the cores, and at most what the user allows."""
    requested = os.environ.get("OMP_NUM_THREADS", "")
    return max(1, min(process.cores, int(requested))) if requested.isdecimal() else process.cores
