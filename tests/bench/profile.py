"""Where a training step's microseconds go: the pieces of the train stage, wrapped in clocks.

The smallest network of the contest on one thread, all signals, checks, bar and checkpoints on. Pieces lie within one
another where they are indented; each call is counted on the steps of the run.
"""

from __future__ import annotations

import functools
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from pipeline.data import Affine
from pipeline.model import classifier
from pipeline.model.classifier import Classifier
from pipeline.model.mlp import MLP
from pipeline.stages import checkpoints, early_break, train
from tests.bench import contest

PIECES: dict[str, tuple[Any, str]] = {
    "the whole stage": (train.Train, "__call__"),
    "  Lightning's fit": (pl.Trainer, "fit"),
    "    ten steps in one call": (Classifier, "training_step"),
    "      a step without the update": (Classifier, "_backward"),
    "        seeds": (classifier, "_seed"),
    "        selecting the examples": (Classifier, "_examples"),
    "        preprocessing": (Affine, "forward"),
    "        the network's forward pass": (MLP, "forward"),
    "        the backward pass": (torch.Tensor, "backward"),
    "      the update": (classifier, "_counted_step"),
    "    early break, losses, progress": (early_break.EarlyBreak, "on_train_batch_end"),
    "    validation": (Classifier, "validation_step"),
    "    probe": (Classifier, "_probe"),
    "    checks": (early_break.EarlyBreak, "on_train_epoch_end"),
    "    checkpoints": (checkpoints.KeepCheckpoints, "on_train_epoch_end"),
    "  measured at the end": (train, "at_the_end"),
    "  spread at the end": (train, "spread_after"),
}
"""What it is -> where it is found."""


@contextmanager
def clocks(seconds: dict[str, float]) -> Iterator[None]:
    """Add up the time of each piece in `seconds`."""

    def wrapped(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            started = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - started

        return timed

    before = {name: getattr(place, attribute) for name, (place, attribute) in PIECES.items()}
    for name, (place, attribute) in PIECES.items():
        setattr(place, attribute, wrapped(name, before[name]))
    try:
        yield
    finally:
        for name, (place, attribute) in PIECES.items():
            setattr(place, attribute, before[name])


def measure(rounds: int = 3) -> dict[str, float]:
    """Microseconds per optimizer step of each piece: the least of some runs."""
    os.environ["FORCE_COLOR"] = "1"  # Rich draws the bar though nobody looks
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    found: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        case, data = contest.MLP, contest.made_images(Path(folder), contest.MLP.train)
        for _ in range(rounds + 1):
            seconds: dict[str, float] = {}
            with clocks(seconds):
                contest.ours(case, data)
            for name, value in seconds.items():
                found.setdefault(name, []).append(1e6 * value / case.epochs / case.steps)
    torch.set_num_threads(threads)
    del os.environ["FORCE_COLOR"]
    return {name: round(min(found[name][1:]), 1) for name in PIECES if name in found}  # the first run warms up
