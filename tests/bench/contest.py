"""The pipeline as users get it (signals, bar, checkpoints, checks on) beside what people would write instead, in one
process, in turns: steps per second as a ratio to a bare loop over tensors in memory.

The same network on the same made images of CIFAR's shape, batches of 128, SGD with momentum and weight decay, one
validation pass an epoch. The pipeline's time is that of its whole train stage; its run is longer than the others', as
real ones are, since what it looks at once, at the end, takes 0.2 s of the convnet. Augmentation and dropout are off,
since the bare loop has none.
"""

from __future__ import annotations

import contextlib
import io
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.assemble import assemble
from pipeline.overrides import composed
from pipeline.parts import Parts
from pipeline.runner import run_config
from tests.bench.template import BEST, USUAL, template

BATCH = 128


@dataclass(frozen=True)
class Case:
    """A network, and how long it is trained for one measurement."""

    name: str
    overrides: tuple[str, ...]
    train: int
    """Training images; a tenth of them more for validation."""
    epochs: int
    """Of the pipeline; the others make one."""

    @property
    def steps(self) -> int:
        """In an epoch."""
        return self.train // BATCH


MLP = Case("MLP 100-100", ("model=mlp",), train=25_600, epochs=4)
CONVNET = Case("convnet", ("model=convnet",), train=6_400, epochs=6)


def made_images(folder: Path, train: int) -> Path:
    """uint8 images of ten classes, each a fixed pattern under noise."""
    rng = np.random.default_rng(0)
    patterns = rng.integers(64, 192, (10, 3, 32, 32))

    def some(n: int) -> tuple[Any, Any]:
        labels = np.arange(n) % 10
        pixels = patterns[labels] + rng.normal(0, 60, (n, 3, 32, 32))
        return pixels.clip(0, 255).astype(np.uint8), labels

    path = folder / "made.npz"
    arrays = {}
    for split, n in [("train", train), ("val", train // 10), ("test", 100)]:
        arrays[f"x_{split}"], arrays[f"y_{split}"] = some(n)
    np.savez(path, **arrays)
    return path


def overrides(case: Case, data: Path, *more: str) -> list[str]:
    return [
        "data=npz", f"data.path={data}", f"data.batch_size={BATCH}", "stage=train", "regularization=l2",
        f"stages.train.epochs={case.epochs}", f"outputs={data.parent}/outputs", *case.overrides, *more,
    ]  # fmt: skip


def ours(case: Case, data: Path, *more: str) -> float:
    """Seconds an epoch of the train stage, with the bar drawn (to nowhere)."""
    typed = overrides(case, data, *more)
    with contextlib.redirect_stdout(io.StringIO()):
        result = run_config(composed(typed), overrides=typed)
    assert len(result.outcomes[0].metrics["history"]) == case.epochs
    return result.outcomes[0].seconds / case.epochs


def bare(parts: Parts, *, channels_last: bool = False, bf16: bool = False, compiled: bool = False) -> float:
    """Seconds of an epoch as everybody can write it: nothing is looked at but the validation loss at its end."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    network: Any = parts.network().to(memory_format=layout)
    x, y = _inputs(parts, layout)
    x_val, y_val = parts.preprocessing(parts.data.val.pixels).contiguous(memory_format=layout), parts.data.val.labels
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
    if compiled:
        network = torch.compile(network)
        _loss(network, x[:BATCH], y[:BATCH], bf16).backward()
        optimizer.zero_grad()
    started = time.perf_counter()
    network.train()
    for index in torch.randperm(len(x)).split(BATCH):
        loss = _loss(network, x[index], y[index], bf16)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    network.eval()
    with torch.no_grad():
        _loss(network, x_val, y_val, bf16).item()
    return time.perf_counter() - started


def _inputs(parts: Parts, layout: torch.memory_format) -> tuple[Tensor, Tensor]:
    return parts.preprocessing(parts.data.train.pixels).contiguous(memory_format=layout), parts.data.train.labels


def _loss(network: nn.Module, x: Tensor, y: Tensor, bf16: bool) -> Tensor:
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        return nn.functional.cross_entropy(network(x), y)


def contestants(case: Case, data: Path, folder: Path, *, compiled: bool) -> dict[str, Callable[[], float]]:
    """Name -> a function that trains once and gives the seconds of an epoch."""
    parts = assemble(composed(overrides(case, data)))
    images = (parts.data.train.pixels, parts.data.train.labels, parts.data.val.pixels, parts.data.val.labels)
    found: dict[str, Callable[[], float]] = {
        "bare loop": lambda: bare(parts),
        "bare loop, bf16": lambda: bare(parts, bf16=True),
        "pipeline": lambda: ours(case, data),
        "pipeline, bf16": lambda: ours(case, data, "trainer.precision=bf16-mixed"),
        "usual template": lambda: template(parts.network(), *images, 1, BATCH, folder, USUAL),
        "usual template, at its best": lambda: template(parts.network(), *images, 1, BATCH, folder, BEST),
    }
    if case is CONVNET:
        found |= {
            "bare loop, channels_last": lambda: bare(parts, channels_last=True),
            "bare loop, channels_last, bf16": lambda: bare(parts, channels_last=True, bf16=True),
        }
    if compiled:
        found["bare loop, compiled"] = lambda: bare(parts, channels_last=case is CONVNET, compiled=True)
    with contextlib.suppress(ImportError):
        from tests.bench import skorch_loop

        found["skorch"] = lambda: skorch_loop.train(
            parts.network(), *_inputs(parts, torch.contiguous_format), case.epochs, BATCH
        )
    return found


def measure(case: Case, *, rounds: int, compiled: bool = False) -> dict[str, Any]:
    """Each contestant once a round, the order turned by one place each time; ratios to the bare loop of the round."""
    os.environ["FORCE_COLOR"] = "1"  # Rich draws the bar though nobody looks
    with tempfile.TemporaryDirectory() as name, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        folder = Path(name)
        todo = contestants(case, made_images(folder, case.train), folder, compiled=compiled)
        seconds: dict[str, list[float]] = {who: [] for who in todo}
        names = list(todo)
        for who in names:
            todo[who]()  # imports, caches, compiled code
        for i in range(rounds):
            for who in names[i % len(names) :] + names[: i % len(names)]:
                seconds[who].append(todo[who]())
    del os.environ["FORCE_COLOR"]
    first = seconds["bare loop"]
    table = {}
    for who, took in seconds.items():
        ratios = [a / b for a, b in zip(first, took, strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        excess = statistics.median(1e6 * (b - a) / case.steps for a, b in zip(first, took, strict=True))
        table[who] = {
            "ratio": middle, "quartiles": [low, high], "ms_a_step": 1e3 * statistics.median(took) / case.steps,
            "us_more_than_bare": excess, "seconds": took,
        }  # fmt: skip
    return {"steps": case.steps, "rounds": rounds, "threads": torch.get_num_threads(), "contestants": table}
