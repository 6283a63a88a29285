"""Where torchrun or srun has started several copies of this program: which of them this process is.

If `trainer.devices` is the number of copies, they train together: the first is the run, and the others take part in its
trainings. With `trainer.devices=1` each copy is a run of its own. Nothing here imports torch.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pipeline.errors import UserError
from pipeline.workflow.process_setup import available_cores

AGENT_STORE = "TORCHELASTIC_USE_AGENT_STORE"
"""torchrun sets it to True where it serves a `torch.distributed.TCPStore` at MASTER_ADDR and MASTER_PORT itself."""
LOWEST_PORT, PORTS = 15_000, 10_000
"""The ports that jobs of Slurm are spread over."""


@dataclass(frozen=True)
class LaunchedProcess:
    """One of the `world_size` copies of this program, of which `local_world_size` run on this machine."""

    launcher: str
    """torchrun or srun."""
    name: str
    """What all copies of one launch share, and no other launch has."""
    rank: int
    world_size: int
    local_rank: int
    local_world_size: int
    cores: int
    """The cores of this machine that this copy may use, if all copies share them evenly."""
    address: str
    """The host of the first copy, rank 0."""
    port: int
    has_agent_store: bool
    """Whether torchrun itself listens at `port`."""

    def validate_devices(self, devices: Any, *, is_joint_training: bool) -> None:
        """Raise `UserError` unless the copies can train together on `devices` devices, and do: `is_joint_training`."""
        if devices != self.world_size:
            raise UserError(
                f"{self.launcher} started {self.world_size} copies of this program, and {devices!r} devices do not "
                f"match them. Set {self.world_size}: the copies train together; or 1: each is a run of its own.",
                field="devices",
            )
        if not is_joint_training:
            raise UserError(
                f"copies that {self.launcher} started train together in a single run of the command only "
                f"({self.launcher} ... -m pipeline), not in a multirun, a search or pipeline.run(). Start the program "
                "once: it starts the other processes of its machine itself.",
                field="devices",
            )

    def validate_machine(self, available: int) -> None:
        """Raise `UserError` where fewer than one of the `available` devices is left for each copy on this machine."""
        if self.launcher == "torchrun" and self.local_world_size > available:  # srun may show each task only its own
            raise UserError(
                f"torchrun started {self.local_world_size} copies on a machine with {available} devices. "
                f"Start at most {available} there: --nproc-per-node={available}.",
                field="devices",
            )


_trains_jointly = False


@contextmanager
def joint_training() -> Iterator[None]:
    """Say that this copy and the others train together while the block runs (`is_joint_training`)."""
    global _trains_jointly
    _trains_jointly = True
    try:
        yield
    finally:
        _trains_jointly = False


def is_joint_training() -> bool:
    """Return whether this process is one of the copies that train together."""
    return _trains_jointly


def launched_process(environment: Mapping[str, str] = os.environ) -> LaunchedProcess | None:
    """Return which copy this process is; None where no launcher started several.

    Where srun starts torchrun, the copies are those of torchrun.
    """
    read = _read_torchrun if "LOCAL_WORLD_SIZE" in environment else _read_srun
    try:
        process = read(environment)
    except (KeyError, ValueError, IndexError):  # variables that somebody else has set
        return None
    return process if process.world_size > 1 else None


def copy_of_run(devices: Any, *, is_single_run: bool) -> LaunchedProcess | None:
    """Return which copy this process is if the copies train together; None where each is a run of its own.

    Raises `UserError` where `devices` is neither the number of copies nor 1, and where it is no single run.
    """
    process = launched_process()
    if process is None or devices == 1:
        return None
    process.validate_devices(devices, is_joint_training=is_single_run)
    return process


def _read_torchrun(environment: Mapping[str, str]) -> LaunchedProcess:
    local_world_size = int(environment["LOCAL_WORLD_SIZE"])
    return LaunchedProcess(
        launcher="torchrun",
        # torchrun may start the copies again, with the same address and the same store
        name="/".join(environment.get(f"TORCHELASTIC_{name}", "") for name in ("RUN_ID", "RESTART_COUNT")),
        rank=int(environment["RANK"]),
        world_size=int(environment["WORLD_SIZE"]),
        local_rank=int(environment["LOCAL_RANK"]),
        local_world_size=local_world_size,
        cores=max(1, available_cores() // local_world_size),
        address=environment["MASTER_ADDR"],
        port=int(environment["MASTER_PORT"]),
        has_agent_store=environment.get(AGENT_STORE) == "True",
    )


def _read_srun(environment: Mapping[str, str]) -> LaunchedProcess:
    """Read the variables of the step. A batch script has those of its job too, but it is one process."""
    job, step = int(environment["SLURM_JOB_ID"]), int(environment["SLURM_STEP_ID"])
    tasks = _tasks_of_node(environment["SLURM_STEP_TASKS_PER_NODE"], int(environment["SLURM_NODEID"]))
    cores = available_cores()  # all of the machine's, where Slurm does not bind each task to its own
    return LaunchedProcess(
        launcher="srun",
        name=f"{job}.{step}",
        rank=int(environment["SLURM_PROCID"]),
        world_size=int(environment["SLURM_STEP_NUM_TASKS"]),
        local_rank=int(environment["SLURM_LOCALID"]),
        local_world_size=tasks,
        cores=max(1, min(cores, int(environment.get("SLURM_CPUS_ON_NODE", cores * tasks)) // tasks)),
        address=environment.get("MASTER_ADDR") or _first_host(environment["SLURM_STEP_NODELIST"]),
        port=int(environment.get("MASTER_PORT") or LOWEST_PORT + (7 * job + step) % PORTS),
        has_agent_store=False,
    )


def _tasks_of_node(counts: str, node: int) -> int:
    """Return the number of tasks of a node: `2(x3),1` means 2 on each of the nodes 0, 1 and 2, and 1 on node 3."""
    runs = re.findall(r"(\d+)(?:\(x(\d+)\))?", counts)
    return [int(count) for count, repeats in runs for _ in range(int(repeats or 1))][node]


def _first_host(nodes: str) -> str:
    """Return the first name in a list of Slurm's: node003 of `node[003-005,9],login`."""
    first = re.split(r",(?![^\[]*\])", nodes)[0]
    return re.sub(r"\[([^\],-]+)[^\]]*\]", r"\1", first)
