"""Those who train in the contest (tests/bench/contest.py), and the process in which they do.

The same network on the same made images of CIFAR's shape, batches of 128, SGD with momentum and weight decay, smoothed
labels, a rate that moves with every step, one validation pass an epoch: the default recipe, written by hand. The
pipeline's time is that of its whole train stage; its run is longer than the others', as real ones are, since what it
looks at once, at the end, takes 0.2 s of the convnet. Augmentation and dropout are off, since the bare loop has none.

torch is imported here before `pipeline`, so its threads wait as the environment says, and else as libgomp has it.
"""

from __future__ import annotations

import contextlib
import functools
import io
import json
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.config.compose import compose_config
from pipeline.signals.precision_timing import time_reduced_precision
from pipeline.workflow.build import build_components
from pipeline.workflow.components import Components
from pipeline.workflow.runner import run
from tests.bench import peers
from tests.bench.template import BEST, SMOOTHING, USUAL, template

BATCH = 128
BARE = "bare loop"
SLOWEST = "usual template"
"""Warm as soon as it has been trained at its best."""
WARM_UP = "warm up"
IMITATED = 1.5
"""Times slower than full precision: as in the check slow_precision."""


@dataclass(frozen=True)
class Case:
    """A network, and how long it is trained for one measurement."""

    name: str
    overrides: tuple[str, ...]
    train: int
    """Training images; a tenth of them more for validation."""
    epochs: int
    """Of the pipeline; the others make one."""
    bare_epochs: int
    """Bare loops before and after each contestant: some seconds of them, since machines have spells."""

    @property
    def steps(self) -> int:
        """In an epoch."""
        return self.train // BATCH


MLP = Case("MLP 100-100", ("model=mlp",), train=19_200, epochs=10, bare_epochs=3)
CONVNET = Case("convnet", ("model=convnet",), train=5_120, epochs=7, bare_epochs=1)


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
        result = run(compose_config(typed), overrides=typed)
    assert len(result.outcomes[0].metrics["history"]) == case.epochs
    return result.outcomes[0].seconds / case.epochs


def bare(parts: Components, *, channels_last: bool = False, bf16: bool = False, compiled: bool = False) -> float:
    """Seconds of an epoch as everybody can write it: nothing is looked at but the validation loss at its end."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    network: Any = parts.make_network().to(memory_format=layout)
    x, y = _inputs(parts, layout)
    x_val, y_val = parts.preprocessing(parts.data.val.pixels).contiguous(memory_format=layout), parts.data.val.labels
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
    batches = torch.randperm(len(x)).split(BATCH)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, total_steps=len(batches))
    if compiled:
        network = torch.compile(network)
        _loss(network, x[:BATCH], y[:BATCH], bf16).backward()
        optimizer.zero_grad()
    started = time.perf_counter()
    network.train()
    for index in batches:
        loss = _loss(network, x[index], y[index], bf16)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
    network.eval()
    with torch.no_grad():
        _loss(network, x_val, y_val, bf16).item()
    return time.perf_counter() - started


def _inputs(parts: Components, layout: torch.memory_format) -> tuple[Tensor, Tensor]:
    return parts.preprocessing(parts.data.train.pixels).contiguous(memory_format=layout), parts.data.train.labels


def _loss(network: nn.Module, x: Tensor, y: Tensor, bf16: bool) -> Tensor:
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        return nn.functional.cross_entropy(network(x), y, label_smoothing=SMOOTHING)


def others(case: Case, parts: Components, folder: Path, *, compiled: bool) -> dict[str, Callable[[], float]]:
    """Name -> a function that trains once and gives the seconds of an epoch: what people would use instead."""
    images = (parts.data.train.pixels, parts.data.train.labels, parts.data.val.pixels, parts.data.val.labels)
    convolutions = case.name == CONVNET.name
    found: dict[str, Callable[[], float]] = {
        BARE: lambda: bare(parts),
        SLOWEST: lambda: template(parts.make_network(), *images, 1, BATCH, folder, USUAL),
        "usual template, at its best": lambda: template(parts.make_network(), *images, 1, BATCH, folder, BEST),
    }
    if convolutions:
        found["bare loop, channels_last"] = lambda: bare(parts, channels_last=True)
    if _has_bf16(parts, channels_last=convolutions):
        found["bare loop, bf16"] = lambda: bare(parts, bf16=True)
        if convolutions:
            found["bare loop, channels_last, bf16"] = lambda: bare(parts, channels_last=True, bf16=True)
    if compiled:
        found["bare loop, compiled"] = lambda: bare(parts, channels_last=convolutions, compiled=True)
    inputs, labels = _inputs(parts, torch.contiguous_format)
    for name, train in (("skorch", peers.skorch), ("keras", peers.keras)):
        if find_spec(name):
            found[name] = functools.partial(train, parts.make_network, inputs, labels, 1, BATCH)
    return found


def pipelines(case: Case, parts: Components, data: Path) -> dict[str, Callable[[], float]]:
    """The same of the pipeline. The bare loop in its process has its choices for threads and memory: what the loop
    itself costs is between these two."""
    convolutions = case.name == CONVNET.name
    name = f"bare loop{', channels_last' * convolutions}, in the pipeline's process"
    found = {"pipeline": lambda: ours(case, data), name: lambda: bare(parts, channels_last=convolutions)}
    if _has_bf16(parts, channels_last=convolutions):
        found["pipeline, bf16"] = lambda: ours(case, data, "trainer.precision=bf16-mixed")
    return found


def _has_bf16(parts: Components, *, channels_last: bool) -> bool:
    """Whether this processor has instructions for it: where it imitates them, a pass takes up to ten times as long."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    x, y = parts.preprocessing(parts.data.train.pixels[:BATCH]), parts.data.train.labels[:BATCH]
    network: Any = parts.make_network().to(memory_format=layout)
    took = time_reduced_precision(
        network,
        nn.functional.cross_entropy,
        x.contiguous(memory_format=layout),
        y,
        autocast=lambda: torch.autocast("cpu", torch.bfloat16),
    )
    return took["reduced_pass_seconds"] <= IMITATED * took["full_pass_seconds"]


def serve(name: str, data: Path, who: str, *words: str) -> None:
    """Say on standard output who trains here; then obey standard input: `WARM_UP`, or the name of one that is to train,
    with the seconds as the answer."""
    warnings.simplefilter("ignore")
    case = next(case for case in (MLP, CONVNET) if case.name == name)
    parts = build_components(compose_config(overrides(case, data)))

    def mine(case: Case) -> dict[str, Callable[[], float]]:
        if who == "pipeline":
            return pipelines(case, parts, data)
        return others(case, parts, data.parent, compiled="compiled" in words)

    def warm_up() -> None:
        """Imports, caches, compiled code."""
        for name, train in mine(replace(case, epochs=1)).items():
            if name != SLOWEST:
                train()

    answers = sys.stdout
    with contextlib.redirect_stdout(io.StringIO()):
        todo = mine(case)
        print(json.dumps({"names": [*todo], "threads": torch.get_num_threads()}), file=answers, flush=True)
        for line in map(str.strip, sys.stdin):
            print(warm_up() if line == WARM_UP else todo[line](), file=answers, flush=True)


if __name__ == "__main__":
    serve(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:])
