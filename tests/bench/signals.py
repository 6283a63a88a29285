"""The cost of recording signals: pairs of trainings in one process, with signals on and off in turn.

MLPs train on one thread: a second one hardly helps them, and times on two scatter twice as much.
"""

from __future__ import annotations

import statistics
import tempfile
from typing import Any

import torch

import pipeline
from tests.bench.budget import rounds

CASES = {
    "MLP 100-100, batch 64": ["model=mlp", "stages.train.epochs=12"],
    "MLP 512-512, batch 128": ["model=mlp", "model.width=512", "data.batch_size=128", "stages.train.epochs=12"],
    "convnet, batch 64": ["data.limit=3000", "stages.train.epochs=8"],
}


def train_seconds(overrides: list[str], outputs: str) -> float:
    """Return the seconds of the train stage."""
    result = pipeline.run([f"outputs={outputs}", "stage=train", "checks=off", *overrides], quiet=True)
    return result.outcomes[0].seconds


def measure(*, seconds: float, only: str = "") -> dict[str, Any]:
    """Return seconds of the train stage with signals / without: the median of pairs, and quartiles.

    There are as many pairs as `seconds` allow, at least two. `only`: cases with this word in their name.
    """
    threads = torch.get_num_threads()
    results = {}
    cases = {name: overrides for name, overrides in CASES.items() if only.lower() in name.lower()}
    with tempfile.TemporaryDirectory() as folder:
        for name, overrides in cases.items():
            torch.set_num_threads(1 if "model=mlp" in overrides else threads)
            train_seconds([*overrides, "stages.train.epochs=1"], folder)  # imports, caches
            pairs = []
            for i in rounds(seconds / len(cases), at_least=2):
                order = ("default", "off") if i % 2 else ("off", "default")
                times = {signals: train_seconds([*overrides, f"signals={signals}"], folder) for signals in order}
                pairs.append((times["default"], times["off"]))
            low, middle, high = statistics.quantiles([on / off for on, off in pairs], n=4)
            off = statistics.median(off for _, off in pairs)
            results[name] = {"ratio": middle, "quartiles": [low, high], "seconds_off": off, "pairs": pairs}
    torch.set_num_threads(threads)
    return results
