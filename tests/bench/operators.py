"""What the convnet's step is made of, operator by operator, and how near to the processor's own limit it is."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from pipeline.config.compose import compose_config
from pipeline.workflow.build import build_components
from tests.bench import contestants

STEPS = 40
SHOWN = 8
PASSES = {"aten::mkldnn_convolution": "forward", "aten::convolution_backward": "backward"}


def measure() -> dict[str, str]:
    """Operator -> its milliseconds in a step of the bare loop with channels_last; convolutions and one large float32
    product also in GFLOPS, 2 for a multiplication and an addition."""
    with tempfile.TemporaryDirectory() as folder:
        data = contestants.made_images(Path(folder), STEPS * contestants.BATCH)
        parts = build_components(compose_config(contestants.overrides(contestants.CONVNET, data)))
    contestants.bare(parts, channels_last=True)
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        contestants.bare(parts, channels_last=True)
    averages = sorted(seen.key_averages(), key=lambda row: -row.self_cpu_time_total)
    forward = _operations(parts.make_network(), parts.preprocessing(parts.data.train.pixels[:1]))
    passes = 1 + len(parts.data.val) / len(parts.data.train)  # forward, over the validation images as well
    # backward: the gradients of weights and inputs, of which the first layer's are not asked for
    work = {"forward": passes * sum(forward), "backward": 2 * sum(forward) - forward[0]}
    found = {}
    for row in averages[:SHOWN]:
        ms = row.self_cpu_time_total / 1e3 / STEPS
        rate = f", {work[PASSES[row.key]] * contestants.BATCH / ms / 1e6:.0f} GFLOPS" if row.key in PASSES else ""
        found[row.key] = f"{ms:.2f} ms{rate}"
    return found | {"a 1024 x 1024 x 1024 product": f"{_product():.0f} GFLOPS"}


def _operations(network: torch.nn.Module, example: Tensor) -> list[int]:
    """Floating-point operations of each convolution for one example."""
    found: list[int] = []

    def note(layer: torch.nn.Conv2d, _: object, output: Tensor) -> None:
        found.append(2 * output.numel() * layer.weight[0].numel())

    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(note)
    with torch.no_grad():
        network.eval()(example)
    return found


def _product(size: int = 1024, rounds: int = 20) -> float:
    a, least = torch.randn(size, size), float("inf")
    for _ in range(rounds):
        started = time.perf_counter()
        a @ a
        least = min(least, time.perf_counter() - started)
    return 2 * size**3 / least / 1e9
