"""Time of a pass through a network in reduced and in full precision."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from torch import Tensor, nn

from pipeline.signals.schema import SanitySignals

MAX_ROUNDS = 3
"""Rounds of one pass each. The least time counts, since other processes on the machine can only add to it."""
EARLY_EXIT_RATIO = 2.0
"""No further round is needed when reduced precision is slower by this factor, or when it is faster."""


def time_reduced_precision(
    network: nn.Module,
    loss: Callable[[Tensor, Tensor], Tensor],
    inputs: Tensor,
    labels: Tensor,
    *,
    autocast: Callable[[], AbstractContextManager[Any]],
) -> SanitySignals:
    """Return `reduced_pass_seconds` and `full_pass_seconds`.

    Each is the least time of a forward and a backward pass over `inputs` (N, C, H, W) and `labels` (N,), with and
    without `autocast()`. No gradients remain.
    """

    def measure(context: AbstractContextManager[Any], n: int) -> float:
        started = time.perf_counter()
        with context:
            value = loss(network(inputs[:n]), labels[:n])
        value.backward()
        for parameter in network.parameters():
            if parameter.grad is not None:
                parameter.grad.flatten()[0].item()  # waits for a device that computes asynchronously
                break
        seconds = time.perf_counter() - started
        network.zero_grad(set_to_none=True)
        return seconds

    for context in (contextlib.nullcontext(), autocast()):
        measure(context, 2)  # the first pass has extra work
    full = reduced = float("inf")
    for _ in range(MAX_ROUNDS):
        full = min(full, measure(contextlib.nullcontext(), len(inputs)))
        reduced = min(reduced, measure(autocast(), len(inputs)))
        if reduced <= full or reduced > EARLY_EXIT_RATIO * full:
            break
    return {"reduced_pass_seconds": reduced, "full_pass_seconds": full}
