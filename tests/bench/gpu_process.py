"""A process in which contestants of tests/bench/gpu.py train: a line of JSON in, a line of JSON out.

This side starts it and asks; `python -m tests.bench.gpu_process` is the other one. A contestant that raises an error
ends the process, since a device is not to be trusted after one; the next request starts another.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

OTHERS = "others"
"""The group of contestants whose process is set up as torch and glibc do it, not as the pipeline does."""
LINES_SHOWN = 12
"""Last lines of a process's output that tell why it ended."""


class ContestantFailed(RuntimeError):
    """A contestant ended with an error or did not answer in time; the message is the end of its output."""


class TrainingProcess:
    """A process for one group of contestants. It is started by `start` or by the first request."""

    def __init__(self, group: str, folder: Path, *, environment: Mapping[str, str]):
        self._group, self._log, self._environment = group, folder / f"{group}.log", environment
        self._process: subprocess.Popen[str] | None = None
        self._answers: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread()

    def start(self) -> None:
        """Start the process, without waiting for its imports."""
        standard = {"FORCE_COLOR": "1", "PIPELINE_ALLOW": "tests.bench.networks.resnet18"}
        environment = os.environ | standard | self._environment
        if self._group == OTHERS:
            environment.pop("GOMP_SPINCOUNT", None)  # `tune_openmp` may have set it in this process
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.bench.gpu_process", self._group],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, env=environment,
                start_new_session=True,
            )  # fmt: skip
        self._answers = queue.Queue()
        self._reader = threading.Thread(target=_read_lines, args=(self._process.stdout, self._answers), daemon=True)
        self._reader.start()

    def train(self, request: dict[str, Any], *, timeout: float) -> dict[str, Any]:
        """Return the answer to a request, as `tests.bench.gpu_contestants.train` gives it."""
        if self._process is None:
            self.start()
        assert self._process is not None
        assert self._process.stdin is not None
        try:
            with contextlib.suppress(BrokenPipeError):  # it ended while it started; the log says why
                print(json.dumps(request), file=self._process.stdin, flush=True)
            line = self._answers.get(timeout=timeout)
        except queue.Empty:
            self.close()
            raise ContestantFailed(f"gave no answer within {timeout:.0f} s\n{self._last_lines()}") from None
        if line:
            return json.loads(line)
        self.close()
        raise ContestantFailed(self._last_lines())

    def close(self) -> None:
        """End the process and those it has started, if it runs."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._reader.join(timeout=5)
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # a request that was not read
            self._process.stdin.close()
        self._process = None

    def _last_lines(self) -> str:
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-LINES_SHOWN:])


def _read_lines(stream: IO[str], answers: queue.Queue[str]) -> None:
    """Put each line into `answers`, and "" where they end."""
    with stream:
        for line in stream:
            answers.put(line)
    answers.put("")


def serve(group: str) -> None:
    """Answer each line of the standard input. What libraries print goes to the log."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    if group != OTHERS:
        from pipeline.workflow.process_setup import configure_process

        configure_process()  # before torch is imported, as the program does
    from tests.bench.gpu_contestants import train

    for line in sys.stdin:
        print(json.dumps(train(**json.loads(line))), file=answers, flush=True)


if __name__ == "__main__":
    serve(sys.argv[1])
