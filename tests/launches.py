"""Copies of the program as torchrun and srun start them, and what tests ask of them."""

from __future__ import annotations

import csv
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.config.compose import compose_config
from pipeline.config.to_dict import to_dict
from pipeline.training.launcher import LaunchedProcess, launched_process

ROOT = Path(__file__).parents[1]
SMALL = ("data=digits", "model=mlp", "model.width=32", "stage=train", "stages.train.epochs=2", "report=false")
CPU = ("trainer.accelerator=cpu", "trainer.timeout=60")
TWO = (*CPU, "trainer.devices=2")
TORCHRUN = {
    "RANK": "3",
    "WORLD_SIZE": "4",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "2",
    "MASTER_ADDR": "node1",
    "MASTER_PORT": "29400",
    "TORCHELASTIC_USE_AGENT_STORE": "True",
    "TORCHELASTIC_RUN_ID": "none",
    "TORCHELASTIC_RESTART_COUNT": "0",
}
SRUN = {
    "SLURM_JOB_ID": "1234567",
    "SLURM_STEP_ID": "2",
    "SLURM_NODEID": "1",
    "SLURM_PROCID": "3",
    "SLURM_LOCALID": "0",
    "SLURM_NTASKS": "4",
    "SLURM_STEP_NUM_TASKS": "4",
    "SLURM_STEP_TASKS_PER_NODE": "3,1",
    "SLURM_STEP_NODELIST": "gpu[07-09,12],login",
}
LAUNCHERS = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def copy(rank: int = 0, **changes: Any) -> LaunchedProcess:
    process = launched_process(TORCHRUN)
    assert process is not None
    return replace(process, rank=rank, world_size=3, local_rank=rank, address="127.0.0.1", **changes)


def set_launcher(monkeypatch: pytest.MonkeyPatch, **changes: str) -> None:
    for name, value in (TORCHRUN | {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2"} | changes).items():
        monkeypatch.setenv(name, value)


def device_keys() -> dict[str, Any]:
    return to_dict(compose_config(["data=digits", *CPU]).trainer)


Process = subprocess.Popen[str]


class Launch:
    """The processes that one test starts, each with the environment of a launcher."""

    def __init__(self, outputs: Path):
        self.outputs, self.running, self.port = outputs, list[Process](), free_port()
        self.environment = {name: value for name, value in os.environ.items() if name not in LAUNCHERS}
        self.environment |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(outputs)}

    def start(self, words: list[str], **environment: str) -> Process:
        pipe = subprocess.PIPE
        self.running.append(
            subprocess.Popen(words, cwd=ROOT, env=self.environment | environment, stdout=pipe, stderr=pipe, text=True)
        )
        return self.running[-1]

    def pipeline(self, *overrides: str, **environment: str) -> Process:
        words = [sys.executable, "-m", "pipeline", f"outputs={self.outputs}", *SMALL, *overrides]
        return self.start(words, **environment)

    def torchrun(self, *overrides: str, flags: tuple[str, ...] = ("--nproc-per-node=2",)) -> Process:
        words = [sys.executable, "-m", "torch.distributed.run", *flags, "-m", "pipeline"]
        return self.start([*words, f"outputs={self.outputs}", *SMALL, *overrides])

    def srun(self, *overrides: str, ranks: tuple[int, ...] = (0, 1)) -> list[Process]:
        """Start what `srun --ntasks=2` would start on one machine, or the copies with these ranks alone."""
        step = SRUN | {
            "SLURM_NTASKS": "2",
            "SLURM_STEP_NUM_TASKS": "2",
            "SLURM_STEP_TASKS_PER_NODE": "2",
            "SLURM_STEP_NODELIST": "localhost",
            "SLURM_NODEID": "0",
            "MASTER_PORT": str(self.port),
        }
        of_task = [{"SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank)} for rank in ranks]
        return [self.pipeline(*overrides, **(step | variables)) for variables in of_task]

    def is_connected(self) -> bool:
        """Return whether a copy has reached the first one."""
        tables = [Path(f"/proc/net/{name}").read_text().splitlines()[1:] for name in ("tcp", "tcp6")]
        connections = [line.split()[1:4] for table in tables for line in table]
        return any(remote.endswith(f":{self.port:04X}") and state == "01" for _, remote, state in connections)

    def directory(self) -> Path:
        (directory,) = (self.outputs / "run").iterdir()
        return directory

    def record(self) -> dict[str, Any]:
        return json.loads((self.directory() / "outcome.json").read_text())


def history(directory: Path) -> list[dict[str, str]]:
    rows = csv.DictReader((directory / "history.csv").read_text().splitlines())
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


def wait_for(condition: Callable[[], object], seconds: float = 100) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.05)


def is_training(outputs: Path) -> Callable[[], bool]:
    return lambda: any(outputs.glob("run/*/checkpoints/last.ckpt"))


def children(process: Process) -> list[int]:
    text = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
    return [int(pid) for pid in text.split()]
