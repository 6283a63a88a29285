"""Several processes that train one network: this one and others that follow it.

Each has its own copy of the parts, assembled from the same configuration; Lightning's DDP averages their gradients.
The first process (rank 0) is the run: it alone has the other stages, the run's directory and the terminal. The others
are started for one training, as a program of their own (`pipeline.follower`), so neither the command nor Hydra runs
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
from pipeline.parts import Parts, Place

GOODBYE = 10.0
"""Seconds that the others get to end by themselves."""


@dataclass(frozen=True)
class Work:
    """All that a follower is told, as one line of JSON: what `train` trains, and from where it goes on."""

    config: Mapping[str, Any]
    train: Mapping[str, Any]
    resume: str | None
    place: Mapping[str, Any]

    def line(self) -> str:
        return json.dumps(asdict(self)) + "\n"


def threads_each(processes: int) -> int:
    """Threads of each of `processes`, so that processes x threads never exceed the cores; never more than now."""
    return max(1, min(torch.get_num_threads(), cores() // processes))


def cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


@contextmanager
def together(parts: Parts, train: Any) -> Iterator[Place]:
    """The other processes of a training with the stage `train`, ready and waiting, while the block runs.

    However the block ends, so do they. If one of them fails, the block's own error (a lost connection) is replaced by
    what the other one said.
    """
    world = parts.engine.devices
    if world == 1:
        yield Place()
        return
    threads = torch.get_num_threads()
    first = Place(rank=0, world=world, port=_free_port())
    followers: list[_Follower] = []
    try:
        torch.set_num_threads(threads_each(world))
        for rank in range(1, world):
            place = Place(rank=rank, world=world, port=first.port)
            resume = str(parts.resume.resolve()) if parts.resume else None
            followers.append(_Follower(Work(parts.config, asdict(train), resume, asdict(place))))
        _wait_until_ready(followers)
        yield first
    except RuntimeError as error:  # as torch raises all that goes wrong between processes
        _explain(error, followers)
        raise
    finally:
        torch.set_num_threads(threads)
        leave_group()
        for follower in followers:
            follower.end()


def leave_group() -> None:
    """Forget the connection, so that the next training can make its own."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        with contextlib.suppress(RuntimeError):  # a peer may be gone already
            torch.distributed.destroy_process_group()


class _Follower:
    """One other process. It ends by itself when its standard input does, so also when this process is killed."""

    def __init__(self, work: Work):
        self.said: IO[str] = tempfile.TemporaryFile("w+")  # noqa: SIM115 - lives as long as the process
        threads = str(torch.get_num_threads())
        path = os.pathsep.join(dict.fromkeys([os.getcwd(), *filter(None, sys.path)]))  # noqa: PTH109
        self.process = subprocess.Popen(
            [sys.executable, "-m", "pipeline.follower"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.said,
            text=True,
            start_new_session=True,  # a Ctrl-C in the terminal is for the first process, which tells when to stop
            env=os.environ | {"OMP_NUM_THREADS": threads, "PYTHONPATH": path},
        )
        self.write(work.line())

    def write(self, line: str) -> None:
        assert self.process.stdin
        with contextlib.suppress(BrokenPipeError):  # it is dead already; `failed` tells
            self.process.stdin.write(line)
            self.process.stdin.flush()

    def failed(self) -> str | None:
        """What it said, if it has ended in failure."""
        if not self.process.poll():
            return None
        self.said.seek(0)
        return self.said.read().strip() or f"exit code {self.process.returncode}"

    def end(self) -> None:
        assert self.process.stdin
        assert self.process.stdout
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        try:
            self.process.wait(GOODBYE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        self.said.close()


def _wait_until_ready(followers: Sequence[_Follower]) -> None:
    """Until each has its parts."""
    for follower in followers:
        assert follower.process.stdout
        if follower.process.stdout.readline().strip() != "ready":
            follower.process.wait()
            raise RuntimeError("a process of the training could not start")


def _explain(error: RuntimeError, followers: Sequence[_Follower]) -> None:
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
