"""What a trial of a search costs, and what comes before the first, beside Hydra's basic multirun.

An MLP with two layers of 100, the same for both, 1000 images, one epoch. Each contestant is run with few and with many
trials: the slope is the cost of a trial, the rest is the start. In turns, one thread a worker.
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
"""Of the opponent, which takes longer."""
TRIAL = ["model=mlp", "batchnorm=none", "regularization=l2", "data.limit=1000", "trainer=cpu"]
SEARCH = [
    "search=coarse",
    "search.rounds.coarse.epochs=1",
    "search.max_widenings=0",
    "search.retrain_seeds=0",
    "verbose=0",
]
IMPORTS = "import os, torch, pytorch_lightning; os._exit(0)"


def took(*command: str) -> float:
    started = time.perf_counter()
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, *command], check=True, stdout=subprocess.DEVNULL, env=environment)
    return time.perf_counter() - started


def searching(workers: int, trials: int) -> float:
    with tempfile.TemporaryDirectory() as outputs:
        where = [f"outputs={outputs}", f"search.workers={workers}", f"search.trials={trials}"]
        return took("-m", "pipeline", *TRIAL, *SEARCH, "stage=[train]", *where)


def multirun(jobs: int) -> float:
    with tempfile.TemporaryDirectory() as outputs:
        rates = ",".join(f"{0.001 * (1 + i):g}" for i in range(jobs))
        return took("-m", "tests.bench.multirun", "-m", f"optimizer.lr={rates}", f"outputs={outputs}")


def measure(*, seconds: float) -> dict[str, Any]:
    """Medians over as many rounds as the seconds allow; `ratio`: of the opponent's milliseconds a trial to ours."""
    found: dict[str, list[float]] = {}
    for _ in rounds(seconds, least=1):
        few, many = multirun(JOBS[0]), multirun(JOBS[1])
        theirs = (many - few) / (JOBS[1] - JOBS[0])
        found.setdefault("multirun_ms_a_trial", []).append(1000 * theirs)
        for workers in (1, 2):
            few, many = searching(workers, FEW), searching(workers, MANY)
            ours = (many - few) / (MANY - FEW)
            found.setdefault(f"ms_a_trial_{workers}_worker{'s' * (workers > 1)}", []).append(1000 * ours)
            found.setdefault(f"ratio_{workers}", []).append(theirs / ours)
            if workers == 1:
                start, imports = few - FEW * ours, took("-c", IMPORTS)
                found.setdefault("start_seconds", []).append(start)
                found.setdefault("start_to_imports", []).append(start / imports)
    return {name: statistics.median(values) for name, values in found.items()} | {"rounds": len(found["ratio_1"])}


if __name__ == "__main__":
    print(measure(seconds=60 * float(sys.argv[1]) if len(sys.argv) > 1 else 180))
