"""Copies of the program that torchrun or srun started are one run, and end together, however one of them ends."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest

import pipeline
from pipeline.config.compose import compose_config
from pipeline.config.to_dict import to_dict
from pipeline.training.copies import launched_copies, leading
from pipeline.training.device import ProcessRank
from pipeline.training.workers import LaunchedWorker, WorkerSpec
from pipeline.workflow.process_setup import available_cores
from tests.launches import (
    CPU,
    SMALL,
    TWO,
    Launch,
    children,
    copy,
    free_port,
    history,
    is_training,
    wait_for,
)

pytestmark = pytest.mark.skipif(available_cores() < 2, reason="needs two cores")


@pytest.fixture
def launched(tmp_path: Path) -> Iterator[Launch]:
    launch = Launch(tmp_path)
    yield launch
    for process in launch.running:
        if process.poll() is None:
            process.kill()
        process.communicate()


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
        rank = asdict(ProcessRank(rank=1, world_size=2, local_rank=1, port=free_port()))  # nobody else is there
        broken = LaunchedWorker(WorkerSpec(config | {"seed": -1}, train, None, rank), copies)
        with pytest.raises(RuntimeError):
            broken.wait_until_ready()
        assert (broken.failure() or (0, ""))[0] == 2
        broken.end()
        for _ in range(2):
            worker = LaunchedWorker(WorkerSpec(config, train, None, rank), copies)
            worker.wait_until_ready()
            assert children(other)
            worker.end()
            wait_for(lambda: not children(other), 15)
            assert worker.failure() is None
    assert other.wait(15) == 0


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
