"""Loops of several processes (DDP): the first one watches, and the others follow its wish to stop."""

from __future__ import annotations

import torch
from torch import distributed


def is_first_process() -> bool:
    """Return whether this is the only process, or that of rank 0."""
    return not _is_distributed() or distributed.get_rank() == 0


def share_flag(flag: bool) -> bool:
    """Return the flag of the first process. All processes have to call this at the same place."""
    if not _is_distributed():
        return flag
    device = "cuda" if distributed.get_backend() == "nccl" else "cpu"
    shared = torch.tensor([int(flag)], device=device)
    distributed.broadcast(shared, src=0)
    return bool(shared.item())


def _is_distributed() -> bool:
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1
