"""Which of several copies of the program a process is, and what copies may do."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import pipeline
from pipeline.cli.launch import launch
from pipeline.errors import UserError
from pipeline.training.ddp import threads_per_process
from pipeline.training.device import DeviceConfig, ProcessRank
from pipeline.training.launcher import copy_of_run, launched_process
from pipeline.workflow.process_setup import available_cores
from tests.launches import (
    CPU,
    SMALL,
    SRUN,
    TORCHRUN,
    device_keys,
    set_launcher,
)

# ------------------------------------------------------------------------------------------ which copy it is


def test_variables_of_torchrun() -> None:
    process = launched_process(TORCHRUN)
    assert process is not None
    assert (process.rank, process.world_size, process.local_rank, process.local_world_size) == (3, 4, 1, 2)
    assert (process.address, process.port, process.has_agent_store) == ("node1", 29400, True)
    restarted = launched_process(TORCHRUN | {"TORCHELASTIC_RESTART_COUNT": "1"})
    assert restarted is not None
    assert restarted.name != process.name
    without_store = launched_process(TORCHRUN | {"TORCHELASTIC_USE_AGENT_STORE": "False"})
    assert without_store is not None
    assert not without_store.has_agent_store


def test_variables_of_srun() -> None:
    process = launched_process(SRUN)
    assert process is not None
    assert (process.rank, process.world_size, process.local_rank, process.local_world_size) == (3, 4, 0, 1)
    assert (process.address, process.has_agent_store) == ("gpu07", False)
    assert 15_000 <= process.port < 25_000
    other_step, other_job = (launched_process(SRUN | {name: "3"}) for name in ("SLURM_STEP_ID", "SLURM_JOB_ID"))
    assert other_step is not None
    assert other_job is not None
    assert len({process.name, other_step.name, other_job.name}) == 3
    assert len({process.port, other_step.port, other_job.port}) == 3
    chosen = launched_process(SRUN | {"MASTER_ADDR": "10.0.0.7", "MASTER_PORT": "4000"})
    assert chosen is not None
    assert (chosen.address, chosen.port) == ("10.0.0.7", 4000)


@pytest.mark.parametrize(
    ("nodes", "first"),
    [
        ("node1", "node1"),
        ("node1,node2", "node1"),
        ("a[3-5,9],b[1-2]", "a3"),
        ("rack[2]-node[003,005-007]", "rack2-node003"),
        ("a1,b[1-2]", "a1"),
    ],
)
def test_first_host(nodes: str, first: str) -> None:
    process = launched_process(SRUN | {"SLURM_STEP_NODELIST": nodes})
    assert process is not None
    assert process.address == first


@pytest.mark.parametrize(("counts", "node", "tasks"), [("4", 0, 4), ("2(x3),1", 2, 2), ("2(x3),1", 3, 1)])
def test_tasks_of_a_node(counts: str, node: int, tasks: int) -> None:
    process = launched_process(SRUN | {"SLURM_STEP_TASKS_PER_NODE": counts, "SLURM_NODEID": str(node)})
    assert process is not None
    assert process.local_world_size == tasks


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"WORLD_SIZE": "2", "RANK": "0"},  # no launcher sets only these
        TORCHRUN | {"WORLD_SIZE": "1"},
        SRUN | TORCHRUN | {"WORLD_SIZE": "1"},  # srun started torchrun, which started one
        SRUN | {"SLURM_STEP_NUM_TASKS": "1"},
        {"SLURM_NTASKS": "4", "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_JOB_ID": "7"},  # a batch script
        SRUN | {"SLURM_JOB_ID": "none"},
    ],
)
def test_a_single_copy(environment: dict[str, str]) -> None:
    assert launched_process(environment) is None


def test_cores_of_a_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Copies on a machine share its cores, unless Slurm has bound each to its own."""

    def cores(environment: dict[str, str]) -> int:
        process = launched_process(environment)
        assert process is not None
        return process.cores

    monkeypatch.setattr("pipeline.training.launcher.available_cores", lambda: 8)
    assert cores(TORCHRUN) == 4
    assert cores(TORCHRUN | {"LOCAL_WORLD_SIZE": "16"}) == 1
    four = SRUN | {"SLURM_STEP_TASKS_PER_NODE": "4", "SLURM_NODEID": "0"}
    assert cores(four) == 8  # nothing says that they are shared
    assert cores(four | {"SLURM_CPUS_ON_NODE": "8"}) == 2
    assert cores(four | {"SLURM_CPUS_ON_NODE": "32"}) == 8


def test_threads_of_a_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy shares the cores with those on its machine only, not with all processes of the training."""
    monkeypatch.setattr("torch.get_num_threads", lambda: 8)
    for module in ("launcher", "ddp"):
        monkeypatch.setattr(f"pipeline.training.{module}.available_cores", lambda: 8)
    set_launcher(monkeypatch, WORLD_SIZE="64")
    assert threads_per_process(64) == 1
    monkeypatch.setattr("pipeline.training.launcher._trains_jointly", True)
    assert threads_per_process(64) == 4


def test_gpu_of_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    config = DeviceConfig(**device_keys())
    monkeypatch.setattr("pipeline.training.device.count_accelerators", lambda: {"gpu": 4, "cpu": 2})
    assert [config.gpu_index(ProcessRank(rank=4 + n, world_size=8, local_rank=n)) for n in range(4)] == [0, 1, 2, 3]
    monkeypatch.setattr("pipeline.training.device.count_accelerators", lambda: {"gpu": 1, "cpu": 2})
    assert [config.gpu_index(ProcessRank(rank=n, world_size=4, local_rank=n)) for n in range(4)] == [0, 0, 0, 0]


def test_lightning_ignores_launchers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A trainer knows what it was told, not what it finds in the environment, and leaves that as it is."""
    config = DeviceConfig(**device_keys())
    for environment in (SRUN, TORCHRUN):  # of srun's variables, Lightning asks for one that srun may not set
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        trainer = config.make_trainer()
        assert (trainer.world_size, trainer.global_rank) == (1, 0)
    environment = ProcessRank(rank=2, world_size=3, local_rank=1, address="node1", port=7).lightning_environment()
    assert (environment.node_rank(), environment.main_address, environment.main_port) == (2, "node1", 7)
    environment.teardown()
    assert os.environ["WORLD_SIZE"] == "4"


# ------------------------------------------------------------------------------------------ what is refused


@pytest.mark.parametrize("rank", ["0", "1"])
@pytest.mark.parametrize(
    "arguments",
    [
        ["trainer.devices=3"],
        ["trainer.devices=2", "-m", "seed=1,2"],
        ["trainer.devices=2", "search=coarse"],
    ],
)
def test_refused_before_anything_starts(
    arguments: list[str], rank: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_launcher(monkeypatch, RANK=rank)
    with pytest.raises(UserError) as refused:
        launch([*SMALL, *CPU, f"outputs={tmp_path}", *arguments])
    assert refused.value.field == "trainer.devices"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("devices", [2, 3])
def test_a_script_is_refused(devices: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`pipeline.run()` returns a result, which only the first of several copies would have."""
    set_launcher(monkeypatch)
    with pytest.raises(UserError) as refused:
        pipeline.run([*SMALL, *CPU, f"outputs={tmp_path}", f"trainer.devices={devices}"], quiet=True)
    assert refused.value.field == "trainer.devices"
    assert not list(tmp_path.iterdir())


def test_more_copies_than_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit of a machine holds for the copies on it; srun gives each task a share of its own."""
    monkeypatch.setattr("pipeline.training.launcher._trains_jointly", True)
    keys = device_keys() | {"devices": 64}
    many = str(available_cores() + 1)
    set_launcher(monkeypatch, WORLD_SIZE="64", LOCAL_WORLD_SIZE="1")
    assert DeviceConfig(**keys).devices == 64
    set_launcher(monkeypatch, WORLD_SIZE="64", LOCAL_WORLD_SIZE=many)
    with pytest.raises(UserError) as refused:
        DeviceConfig(**keys)
    assert refused.value.field == "devices"
    monkeypatch.delenv("LOCAL_WORLD_SIZE")
    for name, value in (SRUN | {"SLURM_STEP_NUM_TASKS": "64", "SLURM_STEP_TASKS_PER_NODE": f"{many}(x2)"}).items():
        monkeypatch.setenv(name, value)
    assert DeviceConfig(**keys).devices == 64


def test_one_device_each_is_a_run_each(monkeypatch: pytest.MonkeyPatch) -> None:
    set_launcher(monkeypatch)
    assert copy_of_run(1, is_single_run=False) is None
    process = copy_of_run(2, is_single_run=True)
    assert process is not None
    assert process.launcher == "torchrun"
