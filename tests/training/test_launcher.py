"""Copies of the program that torchrun or srun started are one run, and end together, however one of them ends."""

from __future__ import annotations

import csv
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

import pipeline
from pipeline.cli.launch import launch
from pipeline.config.compose import compose_config
from pipeline.config.to_dict import to_dict
from pipeline.errors import UserError
from pipeline.training.copies import Connection, Copies, connect, launched_copies, leading
from pipeline.training.ddp import threads_per_process
from pipeline.training.device import DeviceConfig, ProcessRank
from pipeline.training.follower import follow
from pipeline.training.launcher import LaunchedProcess, copy_of_run, is_joined, launched_process
from pipeline.training.workers import OVER, READY, LaunchedWorker, WorkerSpec
from pipeline.workflow.process_setup import available_cores

ROOT = Path(__file__).parents[2]
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


def test_gpu_of_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    config = DeviceConfig(**device_keys())
    monkeypatch.setattr("pipeline.training.device.count_accelerators", lambda: {"gpu": 4, "cpu": 2})
    assert [config.gpu_index(ProcessRank(rank=4 + n, world_size=8, local_rank=n)) for n in range(4)] == [0, 1, 2, 3]
    monkeypatch.setattr("pipeline.training.device.count_accelerators", lambda: {"gpu": 1, "cpu": 2})
    assert [config.gpu_index(ProcessRank(rank=n, world_size=4, local_rank=n)) for n in range(4)] == [0, 0, 0, 0]


def device_keys() -> dict[str, Any]:
    return to_dict(compose_config(["data=digits", *CPU]).trainer)


# ------------------------------------------------------------------------------------------ what is refused


def set_launcher(monkeypatch: pytest.MonkeyPatch, **changes: str) -> None:
    for name, value in (TORCHRUN | {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2"} | changes).items():
        monkeypatch.setenv(name, value)


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
    monkeypatch.setattr("pipeline.training.launcher._joined", True)
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


# ------------------------------------------------------------------------------------------ how copies meet


def test_copies_meet() -> None:
    """The others may come first, in any order; whoever else tries the port is turned away."""
    port, connections = free_port(), dict[int, Connection]()
    first = copy(port=port, has_agent_store=False)

    def join(rank: int) -> None:
        connections[rank] = connect(replace(first, rank=rank, local_rank=10 + rank), timeout=20)

    threads = [threading.Thread(target=join, args=(rank,)) for rank in (2, 1)]
    for thread in threads:
        thread.start()
    with leading(first, timeout=20):
        assert is_joined()
        strangers = [Connection(socket.create_connection(("127.0.0.1", port))) for _ in range(4)]
        strangers[0].send("hello")
        strangers[1].send(["another launch", 1, 1])
        strangers[2].send([first.name, 0, 9])
        strangers[3].close()
        copies = launched_copies()
        assert copies is not None
        copies.wait_for_all()
        for thread in threads:
            thread.join()
        assert copies.local_ranks == {0: 0, 1: 11, 2: 12}
        for rank, connection in connections.items():
            copies.connections[rank].send({"rank": rank, "text": "x" * 200_000})
            copies.connections[rank].send("next")
            assert connection.receive(5)["rank"] == rank
            assert connection.receive(5) == "next"
            with pytest.raises(TimeoutError):
                connection.receive(0.01)
            sender = threading.Thread(target=connection.send, args=("y" * 20_000_000,))
            sender.start()
            time.sleep(0.1)  # longer than the time in which nothing was received
            assert len(copies.connections[rank].receive(20)) == 20_000_000
            sender.join()
    assert launched_copies() is None
    assert not is_joined()
    for connection in (*connections.values(), *strangers[:3]):
        with pytest.raises(EOFError):
            connection.receive(5)
        connection.send("nobody is there")
    for connection in (*connections.values(), *strangers):
        connection.close()


def test_copies_that_do_not_meet() -> None:
    process = copy(port=free_port(), has_agent_store=False)
    with pytest.raises(UserError):
        connect(replace(process, rank=1), timeout=0.3)
    with leading(process, timeout=0.3):
        copies = launched_copies()
        assert copies is not None
        with pytest.raises(RuntimeError, match="process 1 "):
            copies.wait_for_all()
        with pytest.raises(UserError) as refused, leading(process, timeout=0.3):
            pass
        assert str(process.port) in str(refused.value)


def test_the_port_of_torchrun() -> None:
    """torchrun listens at the port that it announces, and keeps what is said there for copies that it starts again."""
    from torch.distributed import TCPStore

    agent = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    first = copy(port=agent.port)
    with leading(first, timeout=5):
        connection = connect(replace(first, rank=1), timeout=5)
        copies = launched_copies()
        assert isinstance(copies, Copies)
        other = connect(replace(first, rank=2), timeout=5)
        copies.wait_for_all()
    for closed in (connection, other):
        with pytest.raises(EOFError):
            closed.receive(5)
        closed.close()
    with pytest.raises(EOFError):  # the first copy has ended: nobody has to wait for it
        connect(replace(first, rank=1), timeout=30)
    with pytest.raises(UserError):  # and that of a new start has not begun
        connect(replace(first, rank=1, name="none/1"), timeout=0.5)


@pytest.fixture
def worker_and_copy() -> Iterator[tuple[LaunchedWorker, Connection]]:
    """Return a worker as the first copy sees it, and the other end of its connection."""
    here, there = (Connection(end) for end in socket.socketpair())
    copies = Copies(copy(), socket.socket(), timeout=0.3)
    copies.connections[1] = here
    yield LaunchedWorker(WorkerSpec({"seed": 1}, {"epochs": 2}, None, asdict(ProcessRank(rank=1))), copies), there
    copies.close()
    there.close()


def test_worker_of_another_copy(worker_and_copy: tuple[LaunchedWorker, Connection]) -> None:
    worker, other = worker_and_copy
    spec = other.receive(5)
    assert (spec["config"], spec["train"], spec["rank"]["rank"]) == ({"seed": 1}, {"epochs": 2}, 1)
    other.send(READY)
    worker.wait_until_ready()
    assert worker.failure() is None
    other.send({"code": 2, "text": "wrong"})
    assert [worker.failure() for _ in range(2)] == [(2, "wrong")] * 2
    worker.end()
    assert other.receive(5) == OVER


@pytest.mark.parametrize("fault", ["silence", "failure", "death"])
def test_worker_that_is_not_ready(fault: str, worker_and_copy: tuple[LaunchedWorker, Connection]) -> None:
    worker, other = worker_and_copy
    if fault == "failure":
        other.send({"code": 2, "text": "wrong"})
    elif fault == "death":
        other.close()
    with pytest.raises(RuntimeError):
        worker.wait_until_ready()
    failure = worker.failure()
    assert (failure and failure[0]) == {"silence": None, "failure": 2, "death": 1}[fault]


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


def test_another_copy_ends_with_the_first(capfd: pytest.CaptureFixture[str]) -> None:
    process = copy(port=free_port(), has_agent_store=False)

    def lead() -> None:
        with leading(process, timeout=20):
            copies = launched_copies()
            assert copies is not None
            other = connect(replace(process, rank=2), timeout=20)
            copies.wait_for_all()
            other.close()

    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    thread = threading.Thread(target=lead)
    thread.start()
    try:
        assert follow(replace(process, rank=1), timeout=20) == 0
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        thread.join()
    assert capfd.readouterr() == ("", "")


# ------------------------------------------------------------------------------------------ real launches

pytestmark = pytest.mark.skipif(available_cores() < 2, reason="needs two cores")
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


@pytest.fixture
def launched(tmp_path: Path) -> Iterator[Launch]:
    launch = Launch(tmp_path)
    yield launch
    for process in launch.running:
        if process.poll() is None:
            process.kill()
        process.communicate()


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


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, str]]:
    """Return the history of two processes of which the first starts the other."""
    launch = Launch(tmp_path_factory.mktemp("local"))
    process = launch.pipeline(*TWO)
    _, err = process.communicate(timeout=200)
    assert process.returncode == 0, err
    return history(launch.directory())


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["torchrun", "two nodes", "srun"])
def test_same_history(launcher: str, expected: list[dict[str, str]], launched: Launch) -> None:
    """Whoever starts the two processes, the numbers are the same to the last bit; there is one run, printed once."""
    if launcher == "srun":
        processes = launched.srun(*TWO)
    elif launcher == "torchrun":
        processes = [launched.torchrun(*TWO)]
    else:
        address = ("--nnodes=2", "--nproc-per-node=1", "--master-addr=127.0.0.1", f"--master-port={free_port()}")
        processes = [launched.torchrun(*TWO, flags=(*address, f"--node-rank={rank}")) for rank in range(2)]
    printed = [process.communicate(timeout=200) for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes), printed
    assert history(launched.directory()) == expected
    assert [out.count("train     passed") for out, _ in printed] == [1] + [0] * (len(processes) - 1)
    if launcher == "srun":
        assert printed[1] == ("", "")
        assert printed[0][1] == ""
    assert {path.name for path in launched.outputs.iterdir()} == {"run", "latest"}


@pytest.mark.slow
def test_several_trainings(launched: Launch) -> None:
    """The others follow through all trainings of `fix=true`, each with its own configuration."""
    overrides = ("stages.train.epochs=4", "batchnorm=none", "optimizer=sgd", "optimizer.lr=100", "fix=true")
    first, other = launched.srun(*TWO, *overrides)
    out, err = first.communicate(timeout=200)
    assert first.returncode == 0, out + err
    fixes = launched.record()["fixes"]
    assert [fix["stage"] for fix in fixes if fix["after"]] == ["train"] * len(fixes)
    assert {fix["kept"] for fix in fixes} == {True, False}
    assert other.wait(15) == 0


@pytest.mark.slow
def test_a_training_that_is_given_up(launched: Launch) -> None:
    """Another copy ends its part, wherever that waits, and is ready for the next training."""
    process = copy(port=launched.port, has_agent_store=False, name="1234567.2")
    with leading(replace(process, world_size=2), timeout=60):
        other = launched.srun(*TWO, ranks=(1,))[0]
        copies = launched_copies()
        assert copies is not None
        copies.wait_for_all()
        config = to_dict(compose_config([*SMALL, *TWO]))
        train = {name: value for name, value in config["stages"]["train"].items() if not name.startswith("_")}
        for _ in range(2):
            rank = asdict(ProcessRank(rank=1, world_size=2, local_rank=1, port=free_port()))  # nobody else is there
            worker = LaunchedWorker(WorkerSpec(config, train, None, rank), copies)
            worker.wait_until_ready()
            assert children(other)
            worker.end()
            wait_for(lambda: not children(other), 15)
            assert worker.failure() is None
    assert other.wait(15) == 0


def children(process: Process) -> list[int]:
    text = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
    return [int(pid) for pid in text.split()]


@pytest.mark.slow
def test_a_run_each(launched: Launch) -> None:
    """With one device, copies are runs of their own."""
    process = launched.torchrun(*CPU, "trainer.devices=1")
    out, err = process.communicate(timeout=200)
    assert process.returncode == 0, out + err
    one, other = (launched.outputs / "run").iterdir()
    assert history(one) == history(other)
    assert (one / "checkpoints" / "best.ckpt").exists()
    assert (other / "checkpoints" / "best.ckpt").exists()


@pytest.mark.slow
def test_user_error_before_the_training(launched: Launch) -> None:
    first, other = launched.srun(*TWO, "optimizer.lr=-1")
    _, err = first.communicate(timeout=100)
    assert first.returncode == 2
    assert "optimizer" in err
    assert other.communicate(timeout=60) == ("", "")
    assert other.returncode == 0
    assert not (launched.outputs / "run").exists()


FRAGILE_MODULE = """
import os
import torch
class Fragile(torch.nn.Sequential):
    def __init__(self, input_shape, classes):
        super().__init__(torch.nn.Flatten(), torch.nn.Linear(input_shape[0] * input_shape[1] * input_shape[2], classes))
        self.passes = 0
    def forward(self, pixels):
        print("printed by the network")
        self.passes += self.training
        if os.environ["SLURM_PROCID"] == "1" and self.passes > 30:
            raise ZeroDivisionError("only here")
        return super().forward(pixels)
"""


@pytest.mark.slow
def test_error_of_another_copy(launched: Launch) -> None:
    """The run ends with the error of the copy that fails."""
    (launched.outputs / "fragile.py").write_text(FRAGILE_MODULE)
    launched.environment["PIPELINE_ALLOW"] = "fragile.Fragile"
    words = ("model=custom", "model._target_=fragile.Fragile", "~model.width", "batchnorm=none", "checks=off")
    first, other = launched.srun(*TWO, *words, "stages.train.epochs=50")
    _, err = first.communicate(timeout=100)
    assert first.returncode == 1
    assert "process 1" in err
    assert "ZeroDivisionError: only here" in err
    assert launched.record()["status"] == "error"
    assert other.communicate(timeout=30) == ("", "")
    assert other.returncode == 1


@pytest.mark.slow
@pytest.mark.nightly
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_and_resume(number: int, launched: Launch) -> None:
    """torchrun passes a signal on to all copies. They stop at one step, and another number of processes continues."""
    process = launched.torchrun(*TWO, "stages.train.epochs=60")
    wait_for(is_training(launched.outputs))
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert "stopped; continue with resume=auto" in err, out + err
    assert launched.record()["status"] == "interrupted"
    one = [f"outputs={launched.outputs}", *SMALL, *CPU, "stages.train.epochs=60", "resume=auto"]
    result = pipeline.run(one, quiet=True)
    assert json.loads((result.directory / "outcome.json").read_text())["resumed_from"]
    assert [row["epoch"] for row in result.metrics["train"]["history"]] == list(range(60))


@pytest.mark.slow
@pytest.mark.nightly
def test_signal_of_srun_and_resume(launched: Launch) -> None:
    """What one copy is told, all do; what one process began, two continue."""
    processes = launched.srun(*TWO, "stages.train.epochs=1000")
    wait_for(is_training(launched.outputs))
    processes[1].send_signal(signal.SIGTERM)
    assert [process.wait(60) for process in processes] == [128 + signal.SIGTERM, 0]
    stopped = launched.record()
    assert stopped["status"] == "interrupted"
    processes = launched.srun(*TWO, "stages.train.epochs=1000", "resume=auto")
    wait_for(lambda: len(list((launched.outputs / "run").iterdir())) == 2)
    wait_for(lambda: len(list(launched.outputs.glob("run/*/history.csv"))) == 2)
    for process in processes:
        process.send_signal(signal.SIGINT)
    assert [process.wait(60) for process in processes] == [128 + signal.SIGINT, 0]


@pytest.mark.slow
@pytest.mark.nightly
@pytest.mark.parametrize("phase", ["waiting", "training"])
@pytest.mark.parametrize("victim", [0, 1])
def test_death_of_a_copy(victim: int, phase: str, launched: Launch) -> None:
    processes = launched.srun(*TWO, "stages.train.epochs=1000")
    wait_for(is_training(launched.outputs) if phase == "training" else launched.is_connected)
    processes[victim].kill()
    survivor = processes[1 - victim]
    _, err = survivor.communicate(timeout=100)
    if victim == 0:
        assert (survivor.returncode, err) == (0, "")
    else:
        assert survivor.returncode == 1
        assert "process 1" in err
        assert launched.record()["status"] == "error"


@pytest.mark.slow
@pytest.mark.nightly
def test_death_of_the_first_copy_of_torchrun(launched: Launch) -> None:
    """The others end by themselves, before torchrun has to kill them."""
    process = launched.torchrun(*TWO, "stages.train.epochs=1000")
    wait_for(is_training(launched.outputs))
    ranks = {pid: Path(f"/proc/{pid}/environ").read_bytes().split(b"\0") for pid in children(process)}
    (first,) = [pid for pid, variables in ranks.items() if b"RANK=0" in variables]
    started = time.monotonic()
    os.kill(first, signal.SIGKILL)
    _, err = process.communicate(timeout=100)
    assert process.returncode == 1
    assert time.monotonic() - started < 20
    assert "exitcode  : -9" in err


def test_threads_of_a_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy shares the cores with those on its machine only, not with all processes of the training."""
    monkeypatch.setattr("torch.get_num_threads", lambda: 8)
    for module in ("launcher", "ddp"):
        monkeypatch.setattr(f"pipeline.training.{module}.available_cores", lambda: 8)
    set_launcher(monkeypatch, WORLD_SIZE="64")
    assert threads_per_process(64) == 1
    monkeypatch.setattr("pipeline.training.launcher._joined", True)
    assert threads_per_process(64) == 4
