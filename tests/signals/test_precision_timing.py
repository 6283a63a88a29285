"""Passes in reduced precision beside passes in full."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from pipeline.signals import precision_timing
from pipeline.signals.precision_timing import time_reduced_precision

INPUTS, LABELS = torch.rand(8, 4), torch.arange(8) % 3


class Net(nn.Module):
    """A linear layer that sleeps for each example, longer in reduced precision; it counts its passes."""

    def __init__(self, *, full: float, reduced: float):
        super().__init__()
        self.layer = nn.Linear(4, 3)
        self.sleeps = {False: full, True: reduced}
        self.passes: list[tuple[int, bool]] = []

    def forward(self, x: Tensor) -> Tensor:
        reduced = torch.is_autocast_enabled("cpu")
        self.passes.append((len(x), reduced))
        time.sleep(len(x) / len(INPUTS) * self.sleeps[reduced])
        return self.layer(x)


@contextlib.contextmanager
def bf16() -> Iterator[None]:
    with torch.autocast("cpu", torch.bfloat16):
        yield


@pytest.mark.parametrize(
    ("full", "reduced", "rounds"), [(0.01, 0.1, 1), (0.1, 0.01, 1), (0.1, 0.15, precision_timing.ROUNDS)]
)
def test_both_are_measured_and_as_often_as_is_needed(full: float, reduced: float, rounds: int) -> None:
    network = Net(full=full, reduced=reduced)
    found = time_reduced_precision(network, nn.functional.cross_entropy, INPUTS, LABELS, autocast=bf16)
    assert full <= found["full_pass_seconds"] < full + 0.04  # a sleep is never shorter
    assert reduced <= found["reduced_pass_seconds"] < reduced + 0.04
    assert network.passes == [(2, False), (2, True)] + [(8, False), (8, True)] * rounds  # the first two warm up
    assert network.layer.weight.grad is None
