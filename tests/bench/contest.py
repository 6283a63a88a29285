"""The pipeline as users get it (signals, bar, checkpoints, checks on) beside what people would write instead, in turns:
steps per second as a ratio to a bare loop over tensors in memory.

Two processes take turns, and one sleeps meanwhile. In one, threads and memory are as torch and glibc have them: what a
script of anybody's gets. In the other `pipeline` was imported first, as its command does, and has made its choices.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from tests.bench.budget import rounds
from tests.bench.contestants import BARE, Case, made_images

MODULE = "tests.bench.contestants"
AS_TORCH_HAS_IT = ("-m", MODULE)
AS_THE_PIPELINE_HAS_IT = ("-c", f"import pipeline, runpy; runpy.run_module({MODULE!r}, run_name='__main__')")


class Process:
    """One in which contestants train when they are named; it has trained each of them once."""

    def __init__(self, process: subprocess.Popen[str]):
        self._process = process
        about = json.loads(self._answer())
        self.names: list[str] = about["names"]
        self.threads: int = about["threads"]

    def seconds(self, who: str) -> float:
        """Of an epoch."""
        assert self._process.stdin is not None
        print(who, file=self._process.stdin, flush=True)
        return float(self._answer())

    def _answer(self) -> str:
        assert self._process.stdout is not None
        if line := self._process.stdout.readline():
            return line
        raise RuntimeError(f"ended with code {self._process.wait()}: {self._process.args}")


@contextmanager
def training(start: tuple[str, str], *words: str) -> Iterator[Process]:
    """This process's choice for waiting threads is not handed on: each makes its own."""
    environment = {name: value for name, value in os.environ.items() if name != "GOMP_SPINCOUNT"}
    pipe, command = subprocess.PIPE, [sys.executable, *start, *words]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment) as process:
        try:
            yield Process(process)
        finally:
            process.kill()


def measure(case: Case, *, seconds: float, compiled: bool = False) -> dict[str, Any]:
    """Each contestant once a round, between two bare loops, the order turned by one place each time; two rounds at
    least, which give quartiles."""
    ends = time.perf_counter() + seconds
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        words = [case.name, str(made_images(Path(folder), case.train))]
        others = stack.enter_context(training(AS_TORCH_HAS_IT, *words, "others", *["compiled"] * compiled))
        # after the other is ready: it looks whether the machine is busy
        pipeline = stack.enter_context(training(AS_THE_PIPELINE_HAS_IT, *words, "pipeline"))
        todo = {who: process for process in (others, pipeline) for who in process.names if who != BARE}

        def bare_loop() -> float:
            return statistics.mean(others.seconds(BARE) for _ in range(case.bare_epochs))

        took: dict[str, list[float]] = {who: [] for who in todo}
        bares: dict[str, list[float]] = {who: [] for who in todo}
        names = list(todo)
        before = bare_loop()
        for i in rounds(ends - time.perf_counter(), least=2):
            for who in names[i % len(names) :] + names[: i % len(names)]:
                took[who].append(todo[who].seconds(who))
                after = bare_loop()
                bares[who].append((before + after) / 2)
                before = after
    table = {}
    for who, times in took.items():
        low, middle, high = statistics.quantiles((b / a for a, b in zip(times, bares[who], strict=True)), n=4)
        more = statistics.median(1e6 * (a - b) / case.steps for a, b in zip(times, bares[who], strict=True))
        table[who] = {
            "ratio": middle, "quartiles": [low, high], "ms_a_step": 1e3 * statistics.median(times) / case.steps,
            "us_more_than_bare": more, "seconds": times, "seconds_of_bare_loops": bares[who],
        }  # fmt: skip
    return {
        "steps": case.steps,
        "rounds": i + 1,
        "bf16": "pipeline, bf16" in todo,
        "threads": others.threads,
        "contestants": table,
    }
