"""The contestants of tests/bench/contest.py, and the process in which they train.

All train the same network on the same artificial images of CIFAR's shape: batches of 128, SGD with momentum and weight
decay, smoothed labels, a rate that changes with every step, and one validation pass an epoch. That is the default
recipe, written by hand. The pipeline's time is that of its whole train stage. Its run is longer than the others', as
real ones are, since its measurements at the end take 0.2 s of the convnet. Augmentation and dropout are off, since the
bare loop has none. All train on the device that the pipeline chooses, where the bare loops have their data, too.

This process does not tune OpenMP: its threads wait as the environment says, or else as libgomp does.
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
from pipeline.data import Images
from pipeline.signals.precision_timing import time_reduced_precision
from pipeline.workflow.build import build_components
from pipeline.workflow.components import Components
from pipeline.workflow.process_setup import available_cores
from pipeline.workflow.runner import run
from tests.bench import peers
from tests.bench.card import wait_for
from tests.bench.template import BEST, SMOOTHING, USUAL, Settings, template

BATCH = 128
BARE = "bare loop"
SLOWEST = "usual template"
"""Needs no warm-up of its own, since it is the same code as the template at its best."""
WARM_UP = "warm up"
TEMPLATE_WORKERS = 8
"""Processes that prepare the images of the usual template for a GPU."""
MAX_SLOWDOWN = 1.5
"""Times slower than full precision at which bf16 counts as emulated, as in the check slow_precision."""


@dataclass(frozen=True)
class Case:
    """A network, and how long it is trained for one measurement."""

    name: str
    overrides: tuple[str, ...]
    train: int
    """Training images; there is a tenth as many for validation."""
    epochs: int
    """Epochs of the pipeline; the others train for one."""
    bare_epochs: int
    """Bare loops before and after each contestant: some seconds of them, since the speed of a machine varies."""
    batch: int = BATCH
    shape: tuple[int, int, int] = (3, 32, 32)

    @property
    def steps(self) -> int:
        """Steps in an epoch."""
        return -(-self.train // self.batch)


MLP = Case("MLP 100-100", ("model=mlp",), train=19_200, epochs=10, bare_epochs=3)
CONVNET = Case("convnet", ("model=convnet",), train=5_120, epochs=7, bare_epochs=1)


def write_images(folder: Path, train: int, shape: tuple[int, int, int] = (3, 32, 32)) -> Path:
    """Write uint8 images of ten classes, each a fixed pattern under noise, and return the file."""
    rng = np.random.default_rng(0)
    patterns = rng.integers(64, 192, (10, *shape))

    def draw(n: int) -> tuple[Any, Any]:
        labels, pixels = np.arange(n) % 10, np.empty((n, *shape), np.uint8)
        for part in np.array_split(np.arange(n), -(-n // 5000)):  # as floats, all together would need gigabytes
            noise = rng.normal(0, 60, (len(part), *shape))
            pixels[part] = (patterns[labels[part]] + noise).clip(0, 255).astype(np.uint8)
        return pixels, labels

    path = folder / "images.npz"
    arrays = {}
    for split, n in [("train", train), ("val", train // 10), ("test", 100)]:
        arrays[f"x_{split}"], arrays[f"y_{split}"] = draw(n)
    np.savez(path, **arrays)
    return path


def overrides(case: Case, data: Path, *more: str) -> list[str]:
    return [
        "data=npz", f"data.path={data}", f"data.batch_size={case.batch}", "stage=train", "regularization=l2",
        f"stages.train.epochs={case.epochs}", f"outputs={data.parent}/outputs", "trainer.precision=32-true",
        *case.overrides, *more,
    ]  # fmt: skip


def run_pipeline(case: Case, data: Path, *more: str) -> float:
    """Return the seconds per epoch of the train stage, with the progress bar drawn into a buffer."""
    args = overrides(case, data, *more)
    with contextlib.redirect_stdout(io.StringIO()):
        result = run(compose_config(args), overrides=args)
    assert len(result.outcomes[0].metrics["history"]) == case.epochs
    return result.outcomes[0].seconds / case.epochs


def bare_loop(
    components: Components, *, channels_last: bool = False, bf16: bool = False, compiled: bool = False
) -> float:
    """Return the seconds of an epoch of a loop without anything but training and the validation loss at its end.

    On a GPU the update is the fused one, since that is fastest, and the order of the examples is there, too.
    """
    device, batch_size = components.device_config.device, components.batch_size
    memory_format = torch.channels_last if channels_last else torch.contiguous_format
    network: Any = components.make_network().to(device, memory_format=memory_format)
    x, y = _inputs(components, components.data.train, memory_format)
    x_val, y_val = _inputs(components, components.data.val, memory_format)
    fused = True if device.type == "cuda" else None
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4, fused=fused)
    batches = torch.randperm(len(x)).to(device).split(batch_size)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, total_steps=len(batches))
    forward = network
    if compiled:
        forward = torch.compile(network)
        for index in (batches[0], batches[-1]):  # the last batch has a shape of its own
            _loss(forward, x[index], y[index], bf16).backward()
        optimizer.zero_grad()
    wait_for(device)
    started = time.perf_counter()
    network.train()
    for index in batches:
        loss = _loss(forward, x[index], y[index], bf16)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
    network.eval()
    with torch.no_grad():
        _loss(network, x_val, y_val, bf16).item()  # not compiled: the shape would be compiled inside the clock
    wait_for(device)
    return time.perf_counter() - started


def _inputs(components: Components, images: Images, memory_format: torch.memory_format) -> tuple[Tensor, Tensor]:
    """Return what the network gets of `images`, and their labels, on the device."""
    images = images.to(components.device_config.device)
    preprocessing = components.preprocessing.on(components.device_config.device)
    return preprocessing(images.pixels).contiguous(memory_format=memory_format), images.labels


def _loss(network: nn.Module, x: Tensor, y: Tensor, bf16: bool) -> Tensor:
    with torch.autocast(x.device.type, torch.bfloat16, enabled=bf16):
        return nn.functional.cross_entropy(network(x), y, label_smoothing=SMOOTHING)


def run_template(components: Components, folder: Path, settings: Settings) -> float:
    """Return the seconds of one epoch of the usual template."""
    train, val = components.data.train, components.data.val
    if components.device_config.kind == "gpu" and not settings.in_memory:
        settings = replace(settings, workers=min(TEMPLATE_WORKERS, available_cores()))
    return template(
        components.make_network(), train.pixels, train.labels, val.pixels, val.labels, 1, components.batch_size, folder,
        settings, accelerator=components.device_config.kind,
        precision="bf16-mixed" if components.device_config.amp_dtype is torch.bfloat16 else "32-true",
    )  # fmt: skip


def others(case: Case, components: Components, folder: Path, *, compiled: bool) -> dict[str, Callable[[], float]]:
    """Return what people would use instead: name -> a function that trains once and returns the seconds of an epoch."""
    convolutions = case.name == CONVNET.name
    contestants: dict[str, Callable[[], float]] = {
        BARE: lambda: bare_loop(components),
        SLOWEST: lambda: run_template(components, folder, USUAL),
        "usual template, at its best": lambda: run_template(components, folder, BEST),
    }
    if convolutions:
        contestants["bare loop, channels_last"] = lambda: bare_loop(components, channels_last=True)
    if _has_bf16(components, channels_last=convolutions):
        contestants["bare loop, bf16"] = lambda: bare_loop(components, bf16=True)
        if convolutions:
            contestants["bare loop, channels_last, bf16"] = lambda: bare_loop(components, channels_last=True, bf16=True)
    if compiled:
        contestants["bare loop, compiled"] = lambda: bare_loop(components, channels_last=convolutions, compiled=True)
    train, device = components.data.train, components.device_config.device
    inputs, labels = components.preprocessing(train.pixels), train.labels
    for name, fit in (("skorch", peers.skorch), ("keras", peers.keras)):
        if find_spec(name):
            contestants[name] = functools.partial(fit, components.make_network, inputs, labels, 1, BATCH, device)
    return contestants


def pipelines(case: Case, components: Components, data: Path) -> dict[str, Callable[[], float]]:
    """Return the same for the pipeline, and for a bare loop in its process, with its settings of threads and memory.

    The difference of these two is the cost of the pipeline's own code.
    """
    convolutions = case.name == CONVNET.name
    name = f"bare loop{', channels_last' * convolutions}, in the pipeline's process"
    contestants = {
        "pipeline": lambda: run_pipeline(case, data),
        name: lambda: bare_loop(components, channels_last=convolutions),
    }
    if _has_bf16(components, channels_last=convolutions):
        contestants["pipeline, bf16"] = lambda: run_pipeline(case, data, "trainer.precision=bf16-mixed")
    return contestants


def _has_bf16(components: Components, *, channels_last: bool) -> bool:
    """Return whether the device computes with bf16; emulated, a pass takes up to ten times as long."""
    memory_format = torch.channels_last if channels_last else torch.contiguous_format
    x, y = _inputs(components, components.data.train.select(torch.arange(BATCH)), memory_format)
    network: Any = components.make_network().to(x.device, memory_format=memory_format)
    seconds = time_reduced_precision(
        network,
        nn.functional.cross_entropy,
        x,
        y,
        autocast=lambda: torch.autocast(x.device.type, torch.bfloat16),
    )
    return seconds["reduced_pass_seconds"] <= MAX_SLOWDOWN * seconds["full_pass_seconds"]


def serve(case_name: str, data: Path, group: str, *flags: str) -> None:
    """Print the names of the contestants of `group`, then read lines: `WARM_UP`, or the name of one that should train.

    Each line is answered with one line: the seconds of an epoch.
    """
    warnings.simplefilter("ignore")
    case = next(case for case in (MLP, CONVNET) if case.name == case_name)
    components = build_components(compose_config(overrides(case, data)))

    def contestants_of(case: Case) -> dict[str, Callable[[], float]]:
        if group == "pipeline":
            return pipelines(case, components, data)
        return others(case, components, data.parent, compiled="compiled" in flags)

    def warm_up() -> None:
        """Import, fill caches, compile."""
        for name, train in contestants_of(replace(case, epochs=1)).items():
            if name != SLOWEST:
                train()

    answers = sys.stdout
    with contextlib.redirect_stdout(io.StringIO()):
        contestants = contestants_of(case)
        print(json.dumps({"names": [*contestants], "threads": torch.get_num_threads()}), file=answers, flush=True)
        for line in map(str.strip, sys.stdin):
            print(warm_up() if line == WARM_UP else contestants[line](), file=answers, flush=True)


if __name__ == "__main__":
    serve(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:])
