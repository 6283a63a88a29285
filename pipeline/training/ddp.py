"""Several processes that train one network: this one and others that follow it.

Each has its own copy of the parts, assembled from the same configuration; Lightning's DDP averages their gradients.
The first process (rank 0) is the run: it alone has the other stages, the run's directory and the terminal. The others
are started for one training, as a program of their own (`pipeline.training.ddp_worker`), so neither the command nor Hydra runs
twice, and neither a user's script nor its open files are inherited.
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
from typing import IO, Any

import torch

from pipeline.errors import UserError
from pipeline.workflow.components import Components, ProcessRank

SHUTDOWN_TIMEOUT = 10.0
"""Seconds that the others get to end by themselves."""


@dataclass(frozen=True)
class WorkerSpec:
    """All that a follower is told, as one line of JSON: what `train` trains, and from where it goes on."""

    config: Mapping[str, Any]
    train: Mapping[str, Any]
    resume: str | None
    rank: Mapping[str, Any]

    def to_json_line(self) -> str:
        return json.dumps(asdict(self)) + "\n"


def threads_per_process(processes: int) -> int:
    """Threads of each of `processes`, so that processes x threads never exceed the cores; never more than now."""
    return max(1, min(torch.get_num_threads(), available_cores() // processes))


def available_cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


@contextmanager
def worker_processes(parts: Components, train: Any) -> Iterator[ProcessRank]:
    """The other processes of a training with the stage `train`, ready and waiting, while the block runs.

    However the block ends, so do they. If one of them fails, the block's own error (a lost connection) is replaced by
    what the other one said.
    """
    world = parts.device_config.devices
    if world == 1:
        yield ProcessRank()
        return
    threads = torch.get_num_threads()
    first = ProcessRank(rank=0, world_size=world, port=_free_port())
    followers: list[_WorkerProcess] = []
    try:
        torch.set_num_threads(threads_per_process(world))
        for rank in range(1, world):
            place = ProcessRank(rank=rank, world_size=world, port=first.port)
            resume = str(parts.resume.resolve()) if parts.resume else None
            followers.append(_WorkerProcess(WorkerSpec(parts.config, asdict(train), resume, asdict(place))))
        _wait_until_ready(followers)
        yield first
    except RuntimeError as error:  # as torch raises all that goes wrong between processes
        _raise_worker_error(error, followers)
        raise
    finally:
        torch.set_num_threads(threads)
        destroy_process_group()
        for follower in followers:
            follower.end()


def destroy_process_group() -> None:
    """Forget the connection, so that the next training can make its own."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        with contextlib.suppress(RuntimeError):  # a peer may be gone already
            torch.distributed.destroy_process_group()


class _WorkerProcess:
    """One other process. It ends by itself when its standard input does, so also when this process is killed."""

    def __init__(self, work: WorkerSpec):
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
        self.write(work.to_json_line())

    def write(self, line: str) -> None:
        assert self.process.stdin
        with contextlib.suppress(BrokenPipeError):  # it is dead already; `failed` tells
            self.process.stdin.write(line)
            self.process.stdin.flush()

    def failed(self) -> str | None:
        """What it said, if it has ended in failure."""
        if not self.process.poll():
            return None
        self.stderr.seek(0)
        return self.stderr.read().strip() or f"exit code {self.process.returncode}"

    def end(self) -> None:
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


def _wait_until_ready(followers: Sequence[_WorkerProcess]) -> None:
    """Until each has its parts."""
    for follower in followers:
        assert follower.process.stdout
        if follower.process.stdout.readline().strip() != "ready":
            follower.process.wait()
            raise RuntimeError("a process of the training could not start")


def _raise_worker_error(error: RuntimeError, followers: Sequence[_WorkerProcess]) -> None:
    """Raise what a follower failed of, where `error` is that it is gone; nothing if all are well."""
    deadline = time.monotonic() + 1.0
    while time.monotonic() < deadline:  # its traceback may be on its way
        for rank, follower in enumerate(followers, start=1):
            if (said := follower.failed()) is not None:
                if follower.process.returncode == 2:
                    raise UserError(said, field=None) from None
                raise RuntimeError(f"process {rank} of the training failed:\n{said}") from error
        time.sleep(0.05)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
