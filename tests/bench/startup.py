"""The time from the start of the program to the end of its first training step, compared with unavoidable imports."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

from tests.bench.budget import rounds

IMPORTS = "import os, torch, pytorch_lightning; os._exit(0)"
FIRST_STEP = """
import os, sys
from pipeline.workflow.process_setup import configure_process
configure_process()  # before torch is imported, as main() does
from pipeline.__main__ import main
from pipeline.training.lightning_module import Classifier
step = Classifier.training_step
def first(*arguments):
    step(*arguments)
    os._exit(0)
Classifier.training_step = first
sys.argv = ["pipeline", "stage=train", "trainer.steps_per_call=1", *sys.argv[1:]]
main()
"""


def run_seconds(code: str, *arguments: str) -> tuple[float, float]:
    """Return the seconds by the clock, and of processor time."""
    started, before = time.perf_counter(), os.times()
    subprocess.run([sys.executable, "-c", code, *arguments], check=True, stdout=subprocess.DEVNULL)
    after = os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return time.perf_counter() - started, used


def measure(*, seconds: float = 50.0, overrides: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return the medians of first step / imports over pairs of runs, with quartiles.

    The first pair fills the caches and does not count. `ratio` is by the clock; `processor_ratio` is of processor time,
    which other work on the machine changes less.
    """
    pairs = []
    with tempfile.TemporaryDirectory() as outputs:
        for i in rounds(seconds, at_least=3):
            codes = [(IMPORTS, ()), (FIRST_STEP, (f"outputs={outputs}", *overrides))]
            times = {code: run_seconds(code, *arguments) for code, arguments in (codes if i % 2 else codes[::-1])}
            if i:
                pairs.append((*times[FIRST_STEP], *times[IMPORTS]))
    clock = statistics.quantiles([whole / imports for whole, _, imports, _ in pairs], n=4)
    processor = statistics.quantiles([whole / imports for _, whole, _, imports in pairs], n=4)
    return {
        "ratio": clock[1],
        "quartiles": [clock[0], clock[2]],
        "processor_ratio": processor[1],
        "processor_quartiles": [processor[0], processor[2]],
        "seconds_first_step": statistics.median(pair[0] for pair in pairs),
        "seconds_imports": statistics.median(pair[2] for pair in pairs),
        "pairs": pairs,
    }


if __name__ == "__main__":
    print({key: value for key, value in measure().items() if key != "pairs"})
