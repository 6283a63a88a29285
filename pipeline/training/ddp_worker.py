"""One of several processes of a training, but not the first. It writes no file.

`python -m pipeline.training.ddp_worker` is started by the train stage. It reads one line of JSON
(`pipeline.training.workers.WorkerSpec`), prints `ready` once it has built its components, and trains together with the
others. Everything else that is printed, also by the user's own network, goes to standard error, which the first process
reads when this one fails.

`follow` is the same in a copy of the program that torchrun or srun started, for all trainings of the run.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import queue
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import CRASHED, PASSED, USER_ERROR, Interrupted, UserError
from pipeline.training.copies import Connection, connect
from pipeline.training.launcher import LaunchedProcess, joined
from pipeline.workflow.interrupt import InterruptHandler
from pipeline.workflow.process_setup import configure_process, silence_library_warnings

if TYPE_CHECKING:
    from pipeline.workflow.build import BuildCache

CONSEQUENCE_SECONDS = 1.0
"""If the first process ends the training so soon after an error here, the error was a consequence of that."""


def main() -> None:
    """Exit with 0 when the training ended, also early; 1 after a crash; 2 where the user's input is wrong."""
    configure_process()
    spec = json.loads(sys.stdin.readline())
    parent = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    handler = InterruptHandler()
    try:
        with silence_library_warnings(), handler.installed():
            _train_as_worker(spec, handler, on_ready=functools.partial(print, "ready", file=parent, flush=True))
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(USER_ERROR)
    except Interrupted:
        pass


def follow(process: LaunchedProcess, *, timeout: float) -> int:
    """Take part in the trainings of the first copy until it ends, and return the exit code of this one.

    It is 0 however the first one ends, and after a signal. Nothing is printed, unless this copy fails and the first one
    cannot say so. Raises `UserError` if the first one cannot be reached within `timeout` s.
    """
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the user's own network may print
    handler = InterruptHandler()
    try:
        with joined(), silence_library_warnings(), handler.installed():
            return _follow(_FirstCopy(connect(process, timeout=timeout)), handler, process.world_size)
    except (Interrupted, EOFError):
        return PASSED


def _follow(first: _FirstCopy, handler: InterruptHandler, world_size: int) -> int:
    import torch

    import pipeline.stages.train  # noqa: F401 - imports take longest, and the first copy is at other stages
    from pipeline.training.ddp import threads_per_process
    from pipeline.workflow.build import BuildCache

    torch.set_num_threads(threads_per_process(world_size))
    cache, on_ready = BuildCache(), functools.partial(first.send, "ready")
    while True:
        spec = first.receive()
        try:
            _train_as_worker(spec, handler, on_ready=on_ready, cache=cache)
        except Exception as error:  # noqa: BLE001 - whatever it is, the first copy reports it
            try:
                first.receive(CONSEQUENCE_SECONDS)
            except TimeoutError:
                return first.report(error)
        else:
            first.receive()  # the first one's end of the training


def _train_as_worker(
    spec: dict[str, Any], handler: InterruptHandler, *, on_ready: Callable[[], object], cache: BuildCache | None = None
) -> None:
    from pipeline.stages.train import Train
    from pipeline.training.ddp import destroy_process_group
    from pipeline.training.device import ProcessRank
    from pipeline.workflow.build import build_from_dict
    from pipeline.workflow.components import RunContext

    components = build_from_dict(spec["config"], cache=cache)
    resume_from = Path(spec["resume_from"]) if spec["resume_from"] else None
    context = RunContext(resume_from=resume_from, interrupt_handler=handler)
    rank, train = ProcessRank(**spec["rank"]), Train(**spec["train"])
    components.device_config.select_gpu(rank)
    on_ready()
    with contextlib.suppress(Interrupted):  # the first process has stopped as well
        train.train_as_worker(components, context, rank)
    destroy_process_group()


class _FirstCopy:
    """The first copy, as another one sees it. This process ends when that one does."""

    def __init__(self, connection: Connection):
        self.send = connection.send
        self._connection, self._exit_code = connection, PASSED
        self._messages: queue.Queue[Any] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def receive(self, timeout: float | None = None) -> Any:
        """Return the next message. Raises `TimeoutError` after `timeout` s."""
        try:
            return self._messages.get(timeout=timeout)
        except queue.Empty:
            raise TimeoutError from None

    def report(self, error: Exception) -> int:
        """Send `error`, which ends the first copy too, and return the exit code."""
        from pipeline.training.ddp import destroy_process_group
        from pipeline.training.workers import SHUTDOWN_TIMEOUT

        is_users = isinstance(error, UserError)
        text = str(error) if is_users else "".join(traceback.format_exception(error))
        self._exit_code = USER_ERROR if is_users else CRASHED
        self.send({"code": self._exit_code, "text": text})
        destroy_process_group()  # the first copy waits for this one: now it looks what was sent
        self._reader.join(SHUTDOWN_TIMEOUT)
        print(text, file=sys.stderr)
        return self._exit_code

    def _read(self) -> None:
        with contextlib.suppress(EOFError):
            while True:
                self._messages.put(self._connection.receive())
        os._exit(self._exit_code)  # also in the middle of a training, which nobody waits for


def _exit_with_parent() -> None:
    """Exit when standard input ends: the first process has ended, however it did, and nobody waits for this one."""
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    main()
