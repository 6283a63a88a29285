"""Where a training step's microseconds go: the pieces of the train stage, wrapped in clocks.

The smallest network of the contest, all signals, checks, bar and checkpoints on; beside it what a bare loop has of the
same pieces. They lie within one another where they are indented; each call is counted on the steps of the run.
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

from pipeline.config.compose import compose_config
from pipeline.data import Affine
from pipeline.model.mlp import MLP
from pipeline.stages import train
from pipeline.training import checkpoints, divergence, lightning_module
from pipeline.training.lightning_module import Classifier
from pipeline.workflow.build import build_components
from tests.bench import contestants

PIECES: dict[str, tuple[Any, str]] = {
    "the whole stage": (train.Train, "__call__"),
    "  Lightning's fit": (pl.Trainer, "fit"),
    "    ten steps in one call": (Classifier, "training_step"),
    "      a step without the update": (Classifier, "_backward"),
    "        seeds": (lightning_module, "_seed"),
    "        selecting the examples": (Classifier, "_examples"),
    "        preprocessing": (Affine, "forward"),
    "        the network's forward pass": (MLP, "forward"),
    "        the backward pass": (torch.Tensor, "backward"),
    "        the loss": (torch.nn.functional, "cross_entropy"),
    "      the update": (torch.optim.SGD, "step"),
    "    early break, losses, progress": (divergence.DivergenceGuard, "on_train_batch_end"),
    "    validation": (Classifier, "validation_step"),
    "    probe": (Classifier, "_probe"),
    "    checks": (divergence.DivergenceGuard, "on_train_epoch_end"),
    "    checkpoints": (checkpoints.CheckpointCallback, "on_train_epoch_end"),
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


def measure(rounds: int = 4) -> dict[str, dict[str, float]]:
    """Who -> microseconds per optimizer step of each piece: the least of some runs, in turns."""
    os.environ["FORCE_COLOR"] = "1"  # Rich draws the bar though nobody looks
    with tempfile.TemporaryDirectory() as folder:
        case, data = contestants.MLP, contestants.made_images(Path(folder), contestants.MLP.train)
        parts = build_components(compose_config(contestants.overrides(case, data)))
        runs: dict[str, tuple[Callable[[], float], int]] = {
            "pipeline": (lambda: contestants.ours(case, data), case.epochs * case.steps),
            "bare loop": (lambda: contestants.bare(parts), case.steps),
        }
        found: dict[str, list[dict[str, float]]] = {who: [] for who in runs}
        for _ in range(rounds + 1):
            for who, (run, steps) in runs.items():
                seconds: dict[str, float] = {}
                with clocks(seconds):
                    epoch = run()
                seconds["an epoch, all in all"] = epoch * steps / case.steps
                found[who].append({name: 1e6 * value / steps for name, value in seconds.items()})
    del os.environ["FORCE_COLOR"]
    names = ["an epoch, all in all", *PIECES]
    return {  # the first run warms up
        who: {name: min(run[name] for run in all_[1:]) for name in names if name in all_[0]}
        for who, all_ in found.items()
    }
