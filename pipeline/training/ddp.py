"""The first of several processes that train one network: it starts the others, and ends them.

Each process builds its own components from the same configuration, and Lightning's DDP averages their gradients. The
first process (rank 0) is the run: it alone has the other stages, the run's directory and the terminal. The others are
started for one training as a program of their own (`pipeline.training.ddp_worker`), so neither the command nor Hydra
runs twice, and they inherit neither a user's script nor its open files.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import torch

from pipeline.errors import UserError
from pipeline.training.device import ProcessRank
from pipeline.workflow.process_setup import available_cores

SHUTDOWN_TIMEOUT = 10.0
"""Seconds that the other processes get to end by themselves."""


@dataclass(frozen=True)
class WorkerSpec:
    """What a worker process needs to know, sent as one line of JSON."""

    config: Mapping[str, Any]
    """The configuration to build the components from."""
    train: Mapping[str, Any]
    """The fields of the train stage."""
    resume_from: str | None
    """The checkpoint to continue from."""
    rank: Mapping[str, Any]
    """The fields of a `ProcessRank`."""

    def to_json_line(self) -> str:
        return json.dumps(asdict(self)) + "\n"


def threads_per_process(processes: int) -> int:
    """Return the threads for each of `processes`: together at most the cores, and never more than now."""
    return max(1, min(torch.get_num_threads(), available_cores() // processes))


@contextmanager
def worker_processes(
    config: Mapping[str, Any], train: Any, *, processes: int, resume_from: Path | None
) -> Iterator[ProcessRank]:
    """Start the other `processes - 1` processes, and yield this one's rank once they are ready.

    `train` is the train stage, a dataclass. The processes end with the block, however it ends. If one of them fails,
    its error replaces the block's own (a lost connection).
    """
    if processes == 1:
        yield ProcessRank()
        return
    threads = torch.get_num_threads()
    first = ProcessRank(rank=0, world_size=processes, port=_find_free_port())
    workers: list[_WorkerProcess] = []
    try:
        torch.set_num_threads(threads_per_process(processes))
        for number in range(1, processes):
            rank = ProcessRank(rank=number, world_size=processes, port=first.port)
            checkpoint = str(resume_from.resolve()) if resume_from else None
            workers.append(_WorkerProcess(WorkerSpec(config, asdict(train), checkpoint, asdict(rank))))
        _wait_until_ready(workers)
        yield first
    except RuntimeError as error:  # torch raises it for all that goes wrong between processes
        _raise_worker_error(error, workers)
        raise
    finally:
        torch.set_num_threads(threads)
        destroy_process_group()
        for worker in workers:
            worker.end()


def destroy_process_group() -> None:
    """Close the connection between the processes, so that the next training can open its own."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        with contextlib.suppress(RuntimeError):  # another process may be gone already
            torch.distributed.destroy_process_group()


class _WorkerProcess:
    """One other process. It ends when its standard input does, so also when this process is killed."""

    def __init__(self, spec: WorkerSpec):
        self.stderr: IO[str] = tempfile.TemporaryFile("w+")  # noqa: SIM115 - lives as long as the process
        threads = str(torch.get_num_threads())
        path = os.pathsep.join(dict.fromkeys([os.getcwd(), *filter(None, sys.path)]))  # noqa: PTH109
        self.process = subprocess.Popen(
            [sys.executable, "-m", "pipeline.training.ddp_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.stderr,
            text=True,
            start_new_session=True,  # a Ctrl-C in the terminal is for the first process, which tells when to stop
            env=os.environ | {"OMP_NUM_THREADS": threads, "PYTHONPATH": path},
        )
        self.write(spec.to_json_line())

    def write(self, line: str) -> None:
        assert self.process.stdin
        with contextlib.suppress(BrokenPipeError):  # it is dead already, and `error_text` says so
            self.process.stdin.write(line)
            self.process.stdin.flush()

    def error_text(self) -> str | None:
        """Return what the process wrote to standard error if it has failed, else None."""
        if not self.process.poll():
            return None
        self.stderr.seek(0)
        return self.stderr.read().strip() or f"exit code {self.process.returncode}"

    def end(self) -> None:
        """Close its standard input, wait, and kill it if it does not end."""
        assert self.process.stdin
        assert self.process.stdout
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        try:
            self.process.wait(SHUTDOWN_TIMEOUT)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        self.stderr.close()


def _wait_until_ready(workers: Sequence[_WorkerProcess]) -> None:
    """Wait until each worker has built its components."""
    for worker in workers:
        assert worker.process.stdout
        if worker.process.stdout.readline().strip() != "ready":
            worker.process.wait()
            raise RuntimeError("a process of the training could not start")


def _raise_worker_error(error: RuntimeError, workers: Sequence[_WorkerProcess]) -> None:
    """Raise the error of a worker that has failed, if `error` is the consequence of that."""
    deadline = time.monotonic() + 1.0
    while time.monotonic() < deadline:  # its traceback may be on its way
        for rank, worker in enumerate(workers, start=1):
            if (text := worker.error_text()) is not None:
                if worker.process.returncode == 2:
                    raise UserError(text, field=None) from None
                raise RuntimeError(f"process {rank} of the training failed:\n{text}") from error
        time.sleep(0.05)


def _find_free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
