"""What watching a bare loop costs: the same loop with and without `pipeline.watch`, in turns of some hundred steps."""

from __future__ import annotations

import statistics
import time
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

import pipeline
from tests.bench.budget import rounds

STEPS = 200
BATCH = 64


def convnet() -> nn.Module:
    """Return a small convnet for images of 28 x 28: two blocks of 16 and 32 channels."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(32 * 49, 10),
    )  # fmt: skip


def mlp() -> nn.Module:
    """Return an MLP 784-100-100-10."""
    return nn.Sequential(
        nn.Flatten(), nn.Linear(784, 100), nn.ReLU(), nn.Linear(100, 100), nn.ReLU(), nn.Linear(100, 10)
    )


CASES = {"convnet 16-32, batch 64": convnet, "MLP 100-100, batch 64": mlp}


def seconds_bare(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> float:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    started = time.perf_counter()
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
    return time.perf_counter() - started


def seconds_watched(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> float:
    """Return the seconds of the steps after the first 50, of which more are measured."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    with pipeline.watch(model, optimizer, classes=10, policy="silent") as watch:
        for part in range(2):
            started = time.perf_counter()
            for _ in range(STEPS if part else 50):
                with watch.step():
                    optimizer.zero_grad()
                    logits = model(x)
                    loss = F.cross_entropy(logits, y)
                    loss.backward()
                    watch.backward_done(loss, logits, y)
                    optimizer.step()
        return time.perf_counter() - started


def measure(*, seconds: float, only: str = "") -> dict[str, Any]:
    """Return the seconds of a watched step / of a bare one: the median of pairs, and quartiles."""
    results = {}
    x, y = torch.rand(BATCH, 1, 28, 28), torch.randint(0, 10, (BATCH,))
    cases = {name: make for name, make in CASES.items() if only.lower() in name.lower()}
    for name, make in cases.items():
        model = make()
        seconds_watched(model, x, y)  # imports, caches
        pairs = []
        for i in rounds(seconds / len(cases), at_least=3):
            runs = (seconds_watched, seconds_bare) if i % 2 else (seconds_bare, seconds_watched)
            times = {run: run(model, x, y) for run in runs}
            pairs.append((times[seconds_watched], times[seconds_bare]))
        low, middle, high = statistics.quantiles([on / off for on, off in pairs], n=4)
        off = statistics.median(off for _, off in pairs)
        results[name] = {"ratio": middle, "quartiles": [low, high], "seconds_off": off, "pairs": pairs}
    return results
