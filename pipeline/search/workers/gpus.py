"""The GPUs of a search: which of them a worker computes on, and how much of their memory it may take.

A worker sees no other GPU, so that the first device of torch and of Lightning is the worker's own.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from pipeline.search.workers.forkserver import start_forkserver

VISIBLE = "CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True)
class GpuShare:
    """What one worker may use of the GPUs."""

    visible: str
    """The GPUs that it sees, as a value of CUDA_VISIBLE_DEVICES."""
    memory: float
    """The fraction of a GPU's memory that torch may take in its process."""

    def claim(self) -> None:
        """Let this process see these GPUs only, and initialise CUDA, while another worker checks the configuration.

        The limit keeps memory that the allocator of one worker has cached from being missing in another. An error of
        CUDA is left to the first trial, which meets it again and is recorded with it.
        """
        os.environ[VISIBLE] = self.visible
        import torch

        with contextlib.suppress(Exception):
            torch.cuda.set_per_process_memory_fraction(self.memory)


def share_gpus(groups: Sequence[str], n_workers: int, *, first: int = 0) -> list[GpuShare]:
    """Return the share of each of `n_workers`: worker i gets group i mod N of N. Without a group there are no shares.

    `first` is the number of the first worker. All shares of memory are equal, so that it does not matter which worker
    runs a trial.
    """
    if not groups:
        return []
    memory = 1 / -(-n_workers // len(groups))
    return [GpuShare(groups[i % len(groups)], memory) for i in range(first, first + n_workers)]


def list_gpus(trainer: Mapping[str, Any], *, threads: int) -> list[str]:
    """Return the GPUs that this process sees, in groups of as many as a trial uses (`trainer.devices`).

    Each group is a value of CUDA_VISIBLE_DEVICES. There is none if `trainer`, a node of the configuration, asks for
    another accelerator.

    A process of its own looks, a child of the parent of all workers, which starts with `threads`. The main process has
    no torch, and to count GPUs can initialise CUDA. That must happen neither in a worker before it is told its GPUs nor
    in the parent, since a forked process cannot use CUDA after its parent.
    """
    if trainer["accelerator"] not in ("auto", "gpu"):
        return []
    start_forkserver(threads)
    context = multiprocessing.get_context("forkserver")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_send_gpus, args=(sender,), daemon=True)
    process.start()
    sender.close()
    gpus: list[str] = receiver.recv()
    process.join()
    return group_gpus(gpus, trainer["devices"])


def group_gpus(gpus: Sequence[str], size: Any) -> list[str]:
    """Return the GPUs in groups of `size`, without those that are left over.

    Where `size` is not possible there is one group of all: the trainer's own check then names the mistake.
    """
    if not gpus:
        return []
    size = size if size in range(1, len(gpus)) else len(gpus)
    return [",".join(gpus[i : i + size]) for i in range(0, len(gpus) - size + 1, size)]


def visible_gpus() -> list[str]:
    """Return the GPUs that this process sees, by the numbers or UUIDs that CUDA_VISIBLE_DEVICES has for them."""
    import torch

    count = torch.cuda.device_count()
    names = os.environ.get(VISIBLE, ",".join(map(str, range(count)))).split(",")
    if count and names[0].startswith("MIG-"):  # parts of a GPU: CUDA counts one, however many are listed
        count = len(names)
    return names[:count]


def _send_gpus(connection: Connection) -> None:
    connection.send(visible_gpus())
