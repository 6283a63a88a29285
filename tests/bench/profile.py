"""How the microseconds of a training step are spent: functions of the train stage, each with a clock.

The network is the smallest of the contest, with all signals, checks, bar and checkpoints. Beside it are the same
functions in a bare loop. An indented function is part of the one above it. Times are divided by the steps of the run.
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
from pipeline.training import callbacks, divergence, step
from pipeline.training.examples import TrainingExamples
from pipeline.training.lightning_module import Classifier
from pipeline.training.step import TrainingStep
from pipeline.workflow.build import build_components
from tests.bench import contestants

PIECES: dict[str, tuple[Any, str]] = {
    "the whole stage": (train.Train, "__call__"),
    "  Lightning's fit": (pl.Trainer, "fit"),
    "    ten steps in one call": (Classifier, "training_step"),
    "      a step without the update": (TrainingStep, "run_pass"),
    "      seeds": (step, "seed_generators"),
    "        selecting the examples": (TrainingExamples, "select"),
    "        preprocessing": (Affine, "forward"),
    "        the network's forward pass": (MLP, "forward"),
    "        the backward pass": (torch.Tensor, "backward"),
    "        the loss": (torch.nn.functional, "cross_entropy"),
    "      the update": (torch.optim.SGD, "step"),
    "    early break, losses, progress": (divergence.DivergenceGuard, "on_train_batch_end"),
    "    validation": (Classifier, "validation_step"),
    "    probe": (Classifier, "_score_probe"),
    "    checks": (divergence.DivergenceGuard, "on_train_epoch_end"),
    "    checkpoints": (callbacks.CheckpointCallback, "on_train_epoch_end"),
    "  measured at the end": (train, "batchnorm_mode_signals"),
    "  histograms at the end": (train, "final_histograms"),
}
"""What a function does -> the object that has it, and its name."""


@contextmanager
def clocks(seconds: dict[str, float]) -> Iterator[None]:
    """Add up the time of each function in `seconds`, by its name in `PIECES`."""

    def with_clock(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            started = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - started

        return timed

    before = {name: getattr(owner, attribute) for name, (owner, attribute) in PIECES.items()}
    for name, (owner, attribute) in PIECES.items():
        setattr(owner, attribute, with_clock(name, before[name]))
    try:
        yield
    finally:
        for name, (owner, attribute) in PIECES.items():
            setattr(owner, attribute, before[name])


def measure(rounds: int = 4) -> dict[str, dict[str, float]]:
    """Return contestant -> microseconds per optimizer step of each function: the lowest of some runs, in turns."""
    os.environ["FORCE_COLOR"] = "1"  # so that Rich draws the bar
    with tempfile.TemporaryDirectory() as folder:
        case, data = contestants.MLP, contestants.write_images(Path(folder), contestants.MLP.train)
        components = build_components(compose_config(contestants.overrides(case, data)))
        runs: dict[str, tuple[Callable[[], float], int]] = {
            "pipeline": (lambda: contestants.run_pipeline(case, data), case.epochs * case.steps),
            "bare loop": (lambda: contestants.bare_loop(components), case.steps),
        }
        results: dict[str, list[dict[str, float]]] = {name: [] for name in runs}
        for _ in range(rounds + 1):
            for contestant, (run, steps) in runs.items():
                seconds: dict[str, float] = {}
                with clocks(seconds):
                    epoch = run()
                seconds["an epoch in total"] = epoch * steps / case.steps
                results[contestant].append({name: 1e6 * value / steps for name, value in seconds.items()})
    del os.environ["FORCE_COLOR"]
    names = ["an epoch in total", *PIECES]
    return {  # the first run warms up
        contestant: {name: min(times[name] for times in rounds_[1:]) for name in names if name in rounds_[0]}
        for contestant, rounds_ in results.items()
    }
