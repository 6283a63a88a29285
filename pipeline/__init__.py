"""A training pipeline that will not train what is broken.

`pipeline.run(["init=zeros", "stage=sanity"])` runs the workflow and returns a `RunResult`;
`pipeline.load("outputs/latest")` gives a predictor on raw images. Importing this imports no torch; import it
before torch, since how OpenMP's threads wait is settled then.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

TURNS = 10_000
"""On a quiet machine 1,000 make a step of a small network a quarter slower, 3,000 sometimes."""


def _turns(loadavg: Path = Path("/proc/loadavg")) -> int:
    """How often a thread of OpenMP that waits for another looks again before it sleeps.

    Enough for the gaps between operations while there is a core for each thread. Beside other work the one that it
    waits for has no core, and looking takes it from both: a small step took ten times as long with 10,000 turns, twice
    as long with none, which is its share (docs/LOG.md). Linux says how many threads run; elsewhere OpenMP is another.
    """
    cores = os.cpu_count() or 1
    typed = os.environ.get("OMP_NUM_THREADS", "")
    threads = int(typed) if typed.isdecimal() else cores
    for _ in range(5):  # another thread that only flits by is no work
        try:
            running = int(loadavg.read_text().split()[3].partition("/")[0])
        except (OSError, ValueError, IndexError):
            return TURNS
        if running - 1 + threads <= cores:  # this thread is one of the running
            return TURNS
        time.sleep(0.001)
    return 0


if "GOMP_SPINCOUNT" not in os.environ:
    os.environ["GOMP_SPINCOUNT"] = str(_turns())  # before torch is imported, which settles it

if TYPE_CHECKING:
    from pipeline.predictor import Predictor
    from pipeline.workflow import RunResult

__all__ = ["load", "run"]


def run(overrides: Sequence[str] = (), *, quiet: bool = False) -> RunResult:
    """Run the workflow with the same overrides that the command line takes.

    Raises `pipeline.errors.UserError` where the command line would exit with 2. A stage that fails its checks is a
    result, not an exception: `result.status == "failed"`, `result.findings` says why.
    """
    from pipeline.errors import UserError
    from pipeline.overrides import composed, swept
    from pipeline.runner import run_config

    if keys := swept(overrides):
        raise UserError("takes one value in a single run.", field=keys[0])
    return run_config(composed(list(overrides)), overrides=list(overrides), quiet=quiet)


def load(run_directory: str | Path, checkpoint: str = "best") -> Predictor:
    """The trained network of a run, from raw images to class names; preprocessing is inside."""
    from pipeline.predictor import load_predictor

    return load_predictor(Path(run_directory), checkpoint)
