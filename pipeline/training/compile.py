"""Compiled passes. The network stays as it is (names, hooks, weights); only a function through it is compiled."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pipeline.errors import UserError

Forward = Callable[[Tensor], Tensor]


def compiled(forward: Forward) -> Forward:
    """Return `forward` compiled for the shape that it is first called with.

    torch keeps compiled code on disk (TORCHINDUCTOR_CACHE_DIR), so the next run of the same network loads it.
    """
    return torch.compile(forward, dynamic=False)


def check_compiler(device: torch.device) -> None:
    """Compile a tiny function and run it on `device`. Raises `UserError` on `compile` where that does not work."""
    numbers = torch.arange(8.0, device=device)
    try:
        is_right = torch.equal(compiled(_tiny_function)(numbers), _tiny_function(numbers))
    except Exception as error:  # the compiler, its backend and the disk it caches on each raise their own
        lines = [line for line in str(error).splitlines() if line and not line.startswith("backend=")]
        raise UserError(
            f"torch cannot compile here ({next(iter(lines), type(error).__name__)}). It needs a C++ compiler, such as "
            "g++, with the headers of Python, and Triton for a GPU. Install them, or use compile=false.",
            field="compile",
        ) from error
    if not is_right:
        raise UserError("compiled code gives wrong numbers on this machine. Use compile=false.", field="compile")


def _tiny_function(numbers: Tensor) -> Tensor:
    return (numbers + 1).relu() * 2
