"""The first of several processes that train one network.

Each process builds its own components from the same configuration, and Lightning's DDP averages their gradients. The
first process (rank 0) is the run: it alone has the other stages, the run's directory and the terminal. It starts the
others for one training as a program of their own (`pipeline.training.ddp_worker`), so neither the command nor Hydra
runs twice, and they inherit neither a user's script nor its open files. Where torchrun or srun has started several
copies of the command, each of the others starts one such process at its place (`pipeline.training.follower`).
"""

from __future__ import annotations

import contextlib
import functools
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from pipeline.errors import USER_ERROR, UserError
from pipeline.training.copies import launched_copies
from pipeline.training.device import ProcessRank
from pipeline.training.launcher import is_joint_training, launched_process
from pipeline.training.workers import LaunchedWorker, StartedWorker, Worker, WorkerSpec
from pipeline.workflow.process_setup import available_cores


def threads_per_process(processes: int) -> int:
    """Return the threads for each of `processes`: together at most the cores, and never more than now."""
    process = launched_process() if is_joint_training() else None
    return max(1, min(torch.get_num_threads(), process.cores if process else available_cores() // processes))


@contextmanager
def worker_processes(
    config: Mapping[str, Any], train: Any, *, processes: int, resume_from: Path | None
) -> Iterator[ProcessRank]:
    """Start the other `processes - 1` processes, and yield this one's rank once they are ready.

    `train` is the train stage, a dataclass. The processes end with the block, however it ends. If one of them fails,
    its error replaces the block's own (a lost connection).
    """
    if processes == 1:
        yield ProcessRank()
        return
    threads, copies = torch.get_num_threads(), launched_copies()
    workers: list[Worker] = []
    try:
        torch.set_num_threads(threads_per_process(processes))
        first = ProcessRank(world_size=processes, port=_find_free_port())
        local_ranks: Mapping[int, int] = {rank: rank for rank in range(processes)}
        make_worker: Callable[[WorkerSpec], Worker]
        make_worker = functools.partial(StartedWorker, threads=torch.get_num_threads())
        if copies:
            copies.wait_for_all()
            first, local_ranks = replace(first, address=copies.process.address), copies.local_ranks
            make_worker = functools.partial(LaunchedWorker, copies=copies)
        checkpoint = str(resume_from.resolve()) if resume_from else None
        for number in range(1, processes):
            rank = replace(first, rank=number, local_rank=local_ranks[number])
            workers.append(make_worker(WorkerSpec(config, asdict(train), checkpoint, asdict(rank), train.name)))
        for worker in workers:
            worker.wait_until_ready()
        yield first
    except RuntimeError as error:  # torch raises it for all that goes wrong between processes
        _raise_worker_error(error, workers)
        raise
    finally:
        torch.set_num_threads(threads)
        destroy_process_group()
        for worker in workers:
            worker.end()


def destroy_process_group() -> None:
    """Close the connection between the processes, so that the next training can open its own."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        with contextlib.suppress(RuntimeError):  # another process may be gone already
            torch.distributed.destroy_process_group()


def _raise_worker_error(error: RuntimeError, workers: Sequence[Worker]) -> None:
    """Raise the error of a worker that has failed, if `error` is the consequence of that."""
    deadline = time.monotonic() + 1.0
    while time.monotonic() < deadline:  # its traceback may be on its way
        for rank, worker in enumerate(workers, start=1):
            if (failure := worker.failure()) is not None:
                code, text = failure
                if code == USER_ERROR:
                    raise UserError(text, field=None) from None
                raise RuntimeError(f"process {rank} of the training failed:\n{text}") from error
        time.sleep(0.05)


def _find_free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])
