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

LIBGOMP_SPINCOUNT = 300_000
"""libgomp's own."""


def _cores_are_busy(loadavg: Path = Path("/proc/loadavg")) -> bool:
    """Whether other work leaves too few cores for OpenMP's threads. Linux says how many threads run; elsewhere OpenMP
    is another."""
    cores = os.cpu_count() or 1
    typed = os.environ.get("OMP_NUM_THREADS", "")
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else cores
    threads = int(typed) if typed.isdecimal() else allowed
    for _ in range(5):  # another thread that only flits by is no work
        try:
            running = int(loadavg.read_text().split()[3].partition("/")[0])
        except (OSError, ValueError, IndexError):
            return False
        if running - 1 + threads <= cores:  # this thread is one of the running
            return False
        time.sleep(0.001)
    return True


# A thread of OpenMP that waits for another looks again so many times, unless told otherwise, before it sleeps. Beside
# other work the one that it waits for has no core, and looking takes it from both: a small step takes several times as
# long, and less than half of that if it sleeps at once (docs/LOG.md). On a quiet machine fewer turns only make it
# slower. Set before torch is imported, which settles it, and in both cases: processes that this one starts begin beside
# it, and would take it for other work.
if not {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & os.environ.keys():
    os.environ["GOMP_SPINCOUNT"] = "0" if _cores_are_busy() else str(LIBGOMP_SPINCOUNT)

if TYPE_CHECKING:
    from pipeline.predictor import Predictor
    from pipeline.workflow.sequence import RunResult

__all__ = ["load", "run"]


def run(overrides: Sequence[str] = (), *, quiet: bool = False) -> RunResult:
    """Run the workflow with the same overrides that the command line takes.

    Raises `pipeline.errors.UserError` where the command line would exit with 2. A stage that fails its checks is a
    result, not an exception: `result.status == "failed"`, `result.findings` says why.
    """
    from pipeline.config.compose import compose_config, swept_keys
    from pipeline.errors import UserError
    from pipeline.workflow import runner

    if keys := swept_keys(overrides):
        raise UserError("takes one value in a single run.", field=keys[0])
    return runner.run(compose_config(list(overrides)), overrides=list(overrides), quiet=quiet)


def load(run_directory: str | Path, checkpoint: str = "best") -> Predictor:
    """The trained network of a run, from raw images to class names; preprocessing is inside."""
    from pipeline.predictor import load_predictor

    return load_predictor(Path(run_directory), checkpoint)
