"""The time of each operator in a step of the convnet, and how near the convolutions are to the processor's limit."""

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
MAX_OPERATORS = 8
PASSES = {"aten::mkldnn_convolution": "forward", "aten::convolution_backward": "backward"}


def measure() -> dict[str, str]:
    """Return operator -> its milliseconds in a step of the bare loop with channels_last.

    Convolutions and one large float32 product are also in GFLOPS, with 2 operations for multiplying and adding.
    """
    with tempfile.TemporaryDirectory() as folder:
        data = contestants.write_images(Path(folder), STEPS * contestants.BATCH)
        components = build_components(compose_config(contestants.overrides(contestants.CONVNET, data)))
    contestants.bare_loop(components, channels_last=True)
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        contestants.bare_loop(components, channels_last=True)
    averages = sorted(profiled.key_averages(), key=lambda row: -row.self_cpu_time_total)
    forward = _operations(components.make_network(), components.preprocessing(components.data.train.pixels[:1]))
    passes = 1 + len(components.data.val) / len(components.data.train)  # forward, over the validation images as well
    # backward: gradients of weights and inputs, except those of the first layer's inputs
    work = {"forward": passes * sum(forward), "backward": 2 * sum(forward) - forward[0]}
    results = {}
    for row in averages[:MAX_OPERATORS]:
        ms = row.self_cpu_time_total / 1e3 / STEPS
        rate = f", {work[PASSES[row.key]] * contestants.BATCH / ms / 1e6:.0f} GFLOPS" if row.key in PASSES else ""
        results[row.key] = f"{ms:.2f} ms{rate}"
    return results | {"a 1024 x 1024 x 1024 product": f"{_product():.0f} GFLOPS"}


def _operations(network: torch.nn.Module, example: Tensor) -> list[int]:
    """Return the floating-point operations of each convolution for one example."""
    operations: list[int] = []

    def note(layer: torch.nn.Conv2d, _: object, output: Tensor) -> None:
        operations.append(2 * output.numel() * layer.weight[0].numel())

    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(note)
    with torch.no_grad():
        network.eval()(example)
    return operations


def _product(size: int = 1024, rounds: int = 20) -> float:
    a, fastest = torch.randn(size, size), float("inf")
    for _ in range(rounds):
        started = time.perf_counter()
        a @ a
        fastest = min(fastest, time.perf_counter() - started)
    return 2 * size**3 / fastest / 1e9
