"""The pipeline as users get it (signals, bar, checkpoints, checks on), compared with what people would write instead.

The measure is steps per second as a ratio to a bare loop over tensors in memory. Two processes take turns; one sleeps
while the other trains. In one, threads and memory are set as by torch and glibc, which is what any script gets. In the
other they are set as by the pipeline (`pipeline.workflow.process_setup`).
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
from tests.bench.contestants import BARE, WARM_UP, Case, write_images


class ContestProcess:
    """A process in which a contestant trains when its name is sent."""

    def __init__(self, process: subprocess.Popen[str]):
        self._process = process
        self.names: list[str] = []
        self.threads = 0

    def seconds(self, name: str) -> float:
        """Let the contestant train, and return the seconds of an epoch."""
        return float(self._request(name))

    def warm_up(self) -> None:
        """Wait for the names of the contestants, and let each train for a short time."""
        description = json.loads(self._read_line())
        self.names, self.threads = description["names"], description["threads"]
        self._request(WARM_UP)

    def _request(self, line: str) -> str:
        assert self._process.stdin is not None
        print(line, file=self._process.stdin, flush=True)
        return self._read_line()

    def _read_line(self) -> str:
        assert self._process.stdout is not None
        if line := self._process.stdout.readline():
            return line
        raise RuntimeError(f"ended with code {self._process.wait()}: {self._process.args}")


@contextmanager
def start_process(
    case: Case, data: Path, group: str, *flags: str, environment: dict[str, str]
) -> Iterator[ContestProcess]:
    pipe = subprocess.PIPE
    command = [sys.executable, "-m", "tests.bench.contestants", case.name, str(data), group, *flags]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment) as process:
        try:
            yield ContestProcess(process)
        finally:
            process.kill()


def measure(case: Case, *, seconds: float, compiled: bool = False) -> dict[str, Any]:
    """Run each contestant once a round, between two bare loops; the order is rotated from round to round.

    At least two rounds, which give quartiles.
    """
    ends = time.perf_counter() + seconds
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        data = write_images(Path(folder), case.train)
        flags = ["compiled"] if compiled else []
        # `tune_openmp` has set its variable in this process; Rich draws the bar with FORCE_COLOR
        tuned = os.environ | {"FORCE_COLOR": "1"}
        plain = {name: value for name, value in tuned.items() if name != "GOMP_SPINCOUNT"}
        others = stack.enter_context(start_process(case, data, "others", *flags, environment=plain))
        pipeline = stack.enter_context(start_process(case, data, "pipeline", environment=tuned))
        for process in (others, pipeline):
            process.warm_up()
        contestants = {name: process for process in (others, pipeline) for name in process.names if name != BARE}

        def bare_loop() -> float:
            return statistics.mean(others.seconds(BARE) for _ in range(case.bare_epochs))

        seconds_of: dict[str, list[float]] = {name: [] for name in contestants}
        bare_seconds_of: dict[str, list[float]] = {name: [] for name in contestants}
        names = list(contestants)
        before = bare_loop()
        for i in rounds(ends - time.perf_counter(), at_least=2):
            for name in names[i % len(names) :] + names[: i % len(names)]:
                seconds_of[name].append(contestants[name].seconds(name))
                after = bare_loop()
                bare_seconds_of[name].append((before + after) / 2)
                before = after
    table = {}
    for name, times in seconds_of.items():
        pairs = list(zip(times, bare_seconds_of[name], strict=True))
        low, middle, high = statistics.quantiles([bare / epoch for epoch, bare in pairs], n=4)
        more = statistics.median(1e6 * (epoch - bare) / case.steps for epoch, bare in pairs)
        table[name] = {
            "ratio": middle, "quartiles": [low, high], "ms_a_step": 1e3 * statistics.median(times) / case.steps,
            "us_more_than_bare": more, "seconds": times, "seconds_of_bare_loops": bare_seconds_of[name],
        }  # fmt: skip
    return {
        "steps": case.steps,
        "rounds": i + 1,
        "bf16": "pipeline, bf16" in contestants,
        "threads": others.threads,
        "contestants": table,
    }
