"""The cost of an optimizer step on the CPU, by default and fused, and whether the bits differ."""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import nn
from torch.optim import SGD, Adagrad, Adam, AdamW

RULES: dict[str, tuple[Any, dict[str, Any]]] = {
    "sgd": (SGD, {}),
    "momentum": (SGD, {"momentum": 0.9}),
    "nesterov": (SGD, {"momentum": 0.9, "nesterov": True}),
    "adagrad": (Adagrad, {}),
    "adam": (Adam, {}),
    "adamw": (AdamW, {}),
}
STEPS, BATCH = 60, 128


def _run_steps(rule: Any, fused: bool, options: dict[str, Any]) -> tuple[torch.Tensor, float]:
    """Return all weights after some steps of an MLP on noise, and the seconds of the fastest step."""
    torch.manual_seed(0)
    hidden = [m for i, o in [(3072, 100), (100, 100)] for m in (nn.Linear(i, o), nn.BatchNorm1d(o), nn.ReLU())]
    network = nn.Sequential(*hidden, nn.Linear(100, 10))
    optimizer = rule(network.parameters(), lr=0.01, weight_decay=5e-4, fused=fused, **options)
    x, y = torch.randn(10, BATCH, 3072), torch.randint(0, 10, (10, BATCH))
    fastest = float("inf")
    for step in range(STEPS):
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(x[step % 10]), y[step % 10]).backward()
        started = time.perf_counter()
        optimizer.step()
        fastest = min(fastest, time.perf_counter() - started)
    return nn.utils.parameters_to_vector(network.parameters()).detach(), fastest


def measure() -> dict[str, str]:
    """Return the microseconds of a step with one thread: default -> fused."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    results = {}
    for name, (rule, options) in RULES.items():
        (plain, before), (fused, after) = (_run_steps(rule, fused, options) for fused in (False, True))
        bits = "the same bits" if torch.equal(plain, fused) else "other bits"
        results[name] = f"{1e6 * before:.0f} -> {1e6 * after:.0f} us, {bits}"
    torch.set_num_threads(threads)
    return results
