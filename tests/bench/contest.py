"""The pipeline as users get it (signals, bar, checkpoints, checks on) beside what people would write instead, in turns:
steps per second as a ratio to a bare loop over tensors in memory.

Two processes take turns, and one sleeps meanwhile. In one, threads and memory are as torch and glibc have them: what a
script of anybody's gets. In the other they are as the pipeline chooses, when it is imported and when it runs.
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
from tests.bench.contestants import BARE, WARM_UP, Case, made_images


class Process:
    """One in which contestants train when they are named."""

    def __init__(self, process: subprocess.Popen[str]):
        self._process = process
        self.names: list[str] = []
        self.threads = 0

    def seconds(self, who: str) -> float:
        """Of an epoch."""
        return float(self._requests(who))

    def warm_up(self) -> None:
        """Train each for a short time, once all is imported, and note who they are."""
        about = json.loads(self._answer())
        self.names, self.threads = about["names"], about["threads"]
        self._requests(WARM_UP)

    def _requests(self, line: str) -> str:
        assert self._process.stdin is not None
        print(line, file=self._process.stdin, flush=True)
        return self._answer()

    def _answer(self) -> str:
        assert self._process.stdout is not None
        if line := self._process.stdout.readline():
            return line
        raise RuntimeError(f"ended with code {self._process.wait()}: {self._process.args}")


@contextmanager
def training(case: Case, data: Path, who: str, *words: str, environment: dict[str, str]) -> Iterator[Process]:
    pipe = subprocess.PIPE
    command = [sys.executable, "-m", "tests.bench.contestants", case.name, str(data), who, *words]
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
        data = made_images(Path(folder), case.train)
        words = ["compiled"] if compiled else []
        # `pipeline` was imported here, and has looked for free cores; Rich draws the bar though nobody looks
        chosen = os.environ | {"FORCE_COLOR": "1"}
        plain = {name: value for name, value in chosen.items() if name != "GOMP_SPINCOUNT"}
        others = stack.enter_context(training(case, data, "others", *words, environment=plain))
        pipeline = stack.enter_context(training(case, data, "pipeline", environment=chosen))
        for process in (others, pipeline):
            process.warm_up()
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
