"""How long OpenMP's threads should spin while they wait: milliseconds a step by `GOMP_SPINCOUNT`.

Measured on the machine as it is, and beside one busy process; `pipeline/workflow/process_setup.py` sets the value.
torch reads the variable when it is imported, so each measurement is a process of its own, and they take turns.
`python -m tests.bench.waiting` prints the measurements of one process.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

SPIN_COUNTS = ("0", "1000", "10000", "50000", "")
"""The last one is libgomp's own, 300,000."""
REPEATS = 5


@contextmanager
def busy() -> Iterator[None]:
    """Run another process that never waits while the block runs."""
    other = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        other.kill()
        other.wait()


def measure(rounds: int = 2) -> dict[str, str]:
    """Return `quiet, 0 turns` -> the medians of a small MLP and a small convnet."""
    quiet = _in_turns(rounds)
    with busy():
        beside = _in_turns(rounds)
    return {
        f"{name}, {turns or 'default'} turns": f"MLP {mlp:.2f} ms, convnet {convnet:.1f} ms"
        for name, medians in (("quiet", quiet), ("busy", beside))
        for turns, (mlp, convnet) in medians.items()
    }


def _in_turns(rounds: int) -> dict[str, tuple[float, float]]:
    results: dict[str, list[tuple[float, float]]] = {turns: [] for turns in SPIN_COUNTS}
    for _ in range(rounds):
        for turns in SPIN_COUNTS:
            results[turns].append(_milliseconds(turns))
    return {
        turns: (statistics.median(mlp for mlp, _ in pairs), statistics.median(convnet for _, convnet in pairs))
        for turns, pairs in results.items()
    }


def _milliseconds(turns: str) -> tuple[float, float]:
    environment = {name: value for name, value in os.environ.items() if name != "GOMP_SPINCOUNT"}
    environment |= {"GOMP_SPINCOUNT": turns} if turns else {}
    output = subprocess.check_output([sys.executable, "-m", "tests.bench.waiting"], env=environment, text=True)
    mlp, convnet = map(float, output.split())
    return mlp, convnet


def main() -> None:
    import torch
    from torch import Tensor, nn

    def milliseconds(network: nn.Module, x: Tensor, steps: int) -> float:
        y = torch.randint(0, 10, (len(x),))
        optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, fused=True)
        times = []
        for _ in range(REPEATS + 1):
            started = time.perf_counter()
            for _ in range(steps):
                nn.functional.cross_entropy(network(x), y).backward()
                optimizer.step()
                optimizer.zero_grad()
            times.append(1000 * (time.perf_counter() - started) / steps)
        return statistics.median(times[1:])  # the first warms up

    def dense(fan_in: int) -> list[nn.Module]:
        return [nn.Linear(fan_in, 100), nn.BatchNorm1d(100), nn.ReLU()]

    def conv(before: int, after: int) -> list[nn.Module]:
        return [nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU()]

    mlp = nn.Sequential(nn.Flatten(), *dense(3072), *dense(100), nn.Linear(100, 10))
    body = [*conv(1, 16), *conv(16, 16), nn.MaxPool2d(2), *conv(16, 32), *conv(32, 32), nn.AdaptiveAvgPool2d(1)]
    convnet = nn.Sequential(*body, nn.Flatten(), nn.Linear(32, 10)).to(memory_format=torch.channels_last)
    images = torch.randn(64, 1, 28, 28).to(memory_format=torch.channels_last)
    print(milliseconds(mlp, torch.randn(128, 3, 32, 32), 50), milliseconds(convnet, images, 10))


if __name__ == "__main__":
    main()
