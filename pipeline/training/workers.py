"""The other processes of a training, as the first one sees them: started by itself, or by torchrun or srun."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, Protocol

from pipeline.errors import CRASHED
from pipeline.training.copies import Copies

SHUTDOWN_TIMEOUT = 10.0
"""Seconds that the other processes get to end by themselves."""
READY, OVER = "ready", "over"
"""What a worker says once it has built its components, and the first copy when a training has ended."""


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
    stage: str = "train"
    """The stage that trains: train or finetune."""


class Worker(Protocol):
    """One other process. It takes part in one training, and its end or that of this process is noticed by both."""

    def wait_until_ready(self) -> None:
        """Return when the worker has built its components. Raises `RuntimeError` where it has failed."""

    def failure(self) -> tuple[int, str] | None:
        """Return the exit code and the error of the worker if it has failed, else None."""

    def end(self) -> None:
        """End the worker's part in the training, however far it is."""


class StartedWorker:
    """A process that this one has started. It ends when its standard input does, so also when this one is killed."""

    def __init__(self, spec: WorkerSpec, *, threads: int):
        self.stderr: IO[str] = tempfile.TemporaryFile("w+")  # noqa: SIM115 - lives as long as the process
        path = os.pathsep.join(dict.fromkeys([str(Path.cwd()), *filter(None, sys.path)]))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "pipeline.training.ddp_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.stderr,
            text=True,
            start_new_session=True,  # a Ctrl-C in the terminal is for the first process, which tells when to stop
            env=os.environ | {"OMP_NUM_THREADS": str(threads), "PYTHONPATH": path},
        )
        assert self.process.stdin
        with contextlib.suppress(BrokenPipeError):  # it is dead already, and `failure` says so
            self.process.stdin.write(json.dumps(asdict(spec)) + "\n")
            self.process.stdin.flush()

    def wait_until_ready(self) -> None:
        assert self.process.stdout
        if self.process.stdout.readline().strip() != READY:
            self.process.wait()
            raise RuntimeError("a process of the training could not start")

    def failure(self) -> tuple[int, str] | None:
        code = self.process.poll()
        if not code:
            return None
        self.stderr.seek(0)
        return code, self.stderr.read().strip() or f"exit code {code}"

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


class LaunchedWorker:
    """A process that a copy of this program has started for this one (`pipeline.training.follower`)."""

    def __init__(self, spec: WorkerSpec, copies: Copies):
        self.rank, self.timeout = int(spec.rank["rank"]), copies.timeout
        self.connection = copies.connections[self.rank]
        self._failure: tuple[int, str] | None = None
        self.connection.send(asdict(spec))

    def wait_until_ready(self) -> None:
        try:
            self._receive(self.timeout)
        except TimeoutError as error:
            raise RuntimeError(
                f"process {self.rank} of the training was not ready within {self.timeout:g} s (trainer.timeout)"
            ) from error
        if self._failure:
            raise RuntimeError("a process of the training could not start")

    def failure(self) -> tuple[int, str] | None:
        with contextlib.suppress(TimeoutError):
            self._receive(0.01)
        return self._failure

    def end(self) -> None:
        self.connection.send(OVER)

    def _receive(self, timeout: float) -> None:
        """Wait `timeout` s for a message, and remember it if it is an error."""
        if self._failure:
            return
        try:
            message = self.connection.receive(timeout)
        except EOFError:
            self._failure = CRASHED, "It has ended without a message; the launcher's own may say why."
        else:
            self._failure = None if message == READY else (int(message["code"]), str(message["text"]))
