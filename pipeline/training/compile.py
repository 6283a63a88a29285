"""Compiled passes: the network stays as it is (names, hooks, weights), beside a compiled way through it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pipeline.errors import UserError

Pass = Callable[[Tensor], Tensor]


def compiled(forward: Pass) -> Pass:
    """`forward` compiled for the shape that it is first called with. Compiled code is kept on disk by torch
    (TORCHINDUCTOR_CACHE_DIR), so the next run of the same network loads it."""
    return torch.compile(forward, dynamic=False)


def check_compiler(device: torch.device) -> None:
    """Compile something tiny and run it. Raises `UserError` on `compile` where that is not possible."""
    numbers = torch.arange(8.0, device=device)
    try:
        worked = torch.equal(compiled(_tiny)(numbers), _tiny(numbers))
    except Exception as error:  # of the compiler, its backend, the disk it caches on: each raises its own
        lines = [line for line in str(error).splitlines() if line and not line.startswith("backend=")]
        raise UserError(
            f"torch cannot compile here ({next(iter(lines), type(error).__name__)}). It needs a C++ compiler, such as "
            "g++, with the headers of Python, and Triton for a GPU. Install them, or leave it at compile=false.",
            field="compile",
        ) from error
    if not worked:
        raise UserError("what torch compiles here gives wrong numbers. Leave it at compile=false.", field="compile")


def _tiny(numbers: Tensor) -> Tensor:
    return (numbers + 1).relu() * 2
