"""The cost of a search's trial and of its start, compared with Hydra's basic multirun.

Both train an MLP with two layers of 100 units on 1000 images for one epoch. Each contestant is run with few and with
many trials: the slope is the cost of a trial, the rest that of the start. They take turns, with one thread a worker.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

from tests.bench.budget import rounds

FEW, MANY = 5, 35
JOBS = (2, 10)
"""Few and many jobs of the multirun, which takes longer."""
TRIAL = ["model=mlp", "batchnorm=none", "regularization=l2", "data.limit=1000", "trainer=cpu"]
SEARCH = [
    "search=coarse",
    "search.rounds.coarse.epochs=1",
    "search.max_widenings=0",
    "search.retrain_seeds=0",
    "verbose=0",
]
IMPORTS = "import os, torch, pytorch_lightning; os._exit(0)"


def run_seconds(*command: str) -> float:
    started = time.perf_counter()
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, *command], check=True, stdout=subprocess.DEVNULL, env=environment)
    return time.perf_counter() - started


def run_search(workers: int, trials: int) -> float:
    with tempfile.TemporaryDirectory() as outputs:
        options = [f"outputs={outputs}", f"search.workers={workers}", f"search.trials={trials}"]
        return run_seconds("-m", "pipeline", *TRIAL, *SEARCH, "stage=[train]", *options)


def run_multirun(jobs: int) -> float:
    with tempfile.TemporaryDirectory() as outputs:
        rates = ",".join(f"{0.001 * (1 + i):g}" for i in range(jobs))
        return run_seconds("-m", "tests.bench.multirun", "-m", f"optimizer.lr={rates}", f"outputs={outputs}")


def measure(*, seconds: float) -> dict[str, Any]:
    """Return medians over as many rounds as `seconds` allow. `ratio`: the multirun's time per trial to the search's."""
    results: dict[str, list[float]] = {}
    for _ in rounds(seconds, at_least=1):
        few, many = run_multirun(JOBS[0]), run_multirun(JOBS[1])
        multirun_seconds = (many - few) / (JOBS[1] - JOBS[0])
        results.setdefault("multirun_ms_a_trial", []).append(1000 * multirun_seconds)
        for workers in (1, 2):
            few, many = run_search(workers, FEW), run_search(workers, MANY)
            search_seconds = (many - few) / (MANY - FEW)
            results.setdefault(f"ms_a_trial_{workers}_worker{'s' * (workers > 1)}", []).append(1000 * search_seconds)
            results.setdefault(f"ratio_{workers}", []).append(multirun_seconds / search_seconds)
            if workers == 1:
                start, imports = few - FEW * search_seconds, run_seconds("-c", IMPORTS)
                results.setdefault("start_seconds", []).append(start)
                results.setdefault("start_to_imports", []).append(start / imports)
    return {name: statistics.median(values) for name, values in results.items()} | {"rounds": len(results["ratio_1"])}


if __name__ == "__main__":
    print(measure(seconds=60 * float(sys.argv[1]) if len(sys.argv) > 1 else 180))
