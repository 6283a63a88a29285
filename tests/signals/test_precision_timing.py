"""Passes in reduced and in full precision."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from pipeline.signals.precision_timing import MAX_ROUNDS, time_reduced_precision

INPUTS, LABELS = torch.rand(8, 4), torch.arange(8) % 3


class Net(nn.Module):
    """A linear layer that sleeps for each example, longer in reduced precision, and lists its passes."""

    def __init__(self, *, full: float, reduced: float):
        super().__init__()
        self.layer = nn.Linear(4, 3)
        self.seconds = {False: full, True: reduced}
        self.passes: list[tuple[int, bool]] = []

    def forward(self, x: Tensor) -> Tensor:
        is_reduced = torch.is_autocast_enabled("cpu")
        self.passes.append((len(x), is_reduced))
        time.sleep(len(x) / len(INPUTS) * self.seconds[is_reduced])
        return self.layer(x)


@contextlib.contextmanager
def bf16() -> Iterator[None]:
    with torch.autocast("cpu", torch.bfloat16):
        yield


@pytest.mark.parametrize(("full", "reduced", "rounds"), [(0.01, 0.1, 1), (0.1, 0.01, 1), (0.1, 0.15, MAX_ROUNDS)])
def test_times_and_rounds(full: float, reduced: float, rounds: int) -> None:
    """Both are measured, after a warm-up with two examples, and as often as is needed."""
    network = Net(full=full, reduced=reduced)
    measured = time_reduced_precision(network, nn.functional.cross_entropy, INPUTS, LABELS, autocast=bf16)
    assert full <= measured["full_pass_seconds"] < full + 0.04  # a sleep is never shorter
    assert reduced <= measured["reduced_pass_seconds"] < reduced + 0.04
    assert network.passes == [(2, False), (2, True)] + [(8, False), (8, True)] * rounds
    assert network.layer.weight.grad is None
