"""How long a pass through a network takes in reduced precision, beside the same in full."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from torch import Tensor, nn

ROUNDS = 3
"""Of one pass each, at most; the least time counts, since a machine's other work only ever adds."""
EARLY_EXIT_RATIO = 2.0
"""Times slower, or any faster: no second round is needed."""


def time_reduced_precision(
    network: nn.Module,
    loss: Callable[[Tensor, Tensor], Tensor],
    inputs: Tensor,
    labels: Tensor,
    *,
    autocast: Callable[[], AbstractContextManager[Any]],
) -> dict[str, float]:
    """`reduced_pass_seconds` and `full_pass_seconds`: the least time of a forward and a backward pass over the inputs,
    with and without `autocast`. Leaves no gradients."""

    def seconds(context: AbstractContextManager[Any], n: int) -> float:
        started = time.perf_counter()
        with context:
            value = loss(network(inputs[:n]), labels[:n])
        value.backward()
        for parameter in network.parameters():
            if parameter.grad is not None:
                parameter.grad.flatten()[0].item()  # waits for a device that works by itself
                break
        took = time.perf_counter() - started
        network.zero_grad(set_to_none=True)
        return took

    for context in (contextlib.nullcontext(), autocast()):
        seconds(context, 2)  # what only the first pass has to do
    full = reduced = float("inf")
    for _ in range(ROUNDS):
        full = min(full, seconds(contextlib.nullcontext(), len(inputs)))
        reduced = min(reduced, seconds(autocast(), len(inputs)))
        if reduced <= full or reduced > EARLY_EXIT_RATIO * full:
            break
    return {"reduced_pass_seconds": reduced, "full_pass_seconds": full}
