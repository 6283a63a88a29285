"""Several processes train as one: the same curve and one run. They end together, however one of them ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import pipeline
from pipeline.config.compose import compose_config
from pipeline.errors import UserError
from pipeline.training.ddp import threads_per_process
from pipeline.workflow.build import build_components
from pipeline.workflow.process_setup import available_cores

ROOT = Path(__file__).parents[2]
SMALL = ("data=digits", "stages.train.epochs=2", "model=mlp", "model.width=32", "stage=train")
PLAIN = (*SMALL, "batchnorm=none", "regularization=l2", "augmentation=crop_flip")
TWO = "trainer=ddp"

pytestmark = pytest.mark.skipif(available_cores() < 2, reason="needs two cores")


def signals_of(outputs: Path, *overrides: str) -> dict[str, Any]:
    result = pipeline.run([f"outputs={outputs}", *overrides], quiet=True)
    assert result.status == "passed"
    return train_signals(result.directory)


def train_signals(directory: Path) -> dict[str, Any]:
    return json.loads((directory / "signals.json").read_text())["stages"]["train"]


def assert_same_curve(one: dict[str, Any], other: dict[str, Any]) -> None:
    """Assert that two trainings are the same to rounding: sums are taken in another order."""
    assert one["losses"] == pytest.approx(other["losses"], rel=1e-4)
    assert one["accuracies"] == pytest.approx(other["accuracies"], abs=0.02)  # an example on the edge
    for column in ("step", "lr", "loss", "penalty", "val_loss", "probe_loss"):
        assert one["epochs"][column] == pytest.approx(other["epochs"][column], rel=1e-4)
    assert one["samples"]["step"] == other["samples"]["step"]
    for name in ("gradient", "weight", "update"):
        for row, other_row in zip(one["samples"]["weights"][name], other["samples"]["weights"][name], strict=True):
            assert row == pytest.approx(other_row, rel=1e-3)


# ------------------------------------------------------------------------------------------ the same curve


def test_accumulate(tmp_path: Path) -> None:
    """1,437 examples: the last step has 3, in parts of 2 and 1."""
    whole = signals_of(tmp_path, *PLAIN, "data.batch_size=478")
    assert_same_curve(whole, signals_of(tmp_path, *PLAIN, "data.batch_size=239", "trainer.accumulate=2"))
    assert whole["steps_per_epoch"] == 4


@pytest.mark.slow
def test_two_processes_train_as_one(tmp_path: Path) -> None:
    """1,437 = 4 x 359 + 1: the last step of an epoch leaves one process without an example."""
    overrides = (*PLAIN, "data.batch_size=359", "stages.train.epochs=8", "optimizer.lr=0.05")
    one = signals_of(tmp_path, *overrides)
    assert 1.0 in one["accuracies"][4::5]  # the lone example is right at least once, so that it could be miscounted
    torch.set_num_threads(2)  # divided between the processes while there are two
    assert_same_curve(one, signals_of(tmp_path, *overrides, TWO))
    assert torch.get_num_threads() == 2
    assert not torch.distributed.is_initialized()


@pytest.mark.slow
def test_two_processes_equal_two_minibatches(tmp_path: Path) -> None:
    """Dropout and batchnorm are those of two minibatches, and validation is that of the network that is saved.

    Running statistics differ between processes until they are made the same.
    """
    overrides = (*SMALL, "augmentation=crop_flip", "signals=off")
    result = pipeline.run([f"outputs={tmp_path}", *overrides, "data.batch_size=64", TWO], quiet=True)
    minibatches = signals_of(tmp_path, *overrides, "data.batch_size=32", "trainer.accumulate=2")
    assert train_signals(result.directory)["losses"] == pytest.approx(minibatches["losses"], rel=1e-4)
    predictor = pipeline.load(result.directory, "last")
    val = build_components(compose_config(list(SMALL))).data.val
    correct = predictor.network(predictor.preprocessing(val.pixels)).argmax(1) == val.labels
    last = result.metrics["train"]["history"][-1]
    assert float(correct.float().mean()) == pytest.approx(last["val_accuracy"], abs=1e-6)


# ------------------------------------------------------------------------------------------ one run that ends together

Program = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Program]:
    running: list[subprocess.Popen[str]] = []

    def start(*overrides: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "pipeline", f"outputs={tmp_path}", *SMALL, TWO, *overrides]
        pipe = subprocess.PIPE
        running.append(subprocess.Popen(command, cwd=ROOT, stdout=pipe, stderr=pipe, text=True))
        return running[-1]

    yield start
    for process in running:
        if process.poll() is None:
            process.kill()
        process.communicate()


def worker_of(process: subprocess.Popen[str]) -> int:
    """Return the process id of the other process."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return next(
        int(pid) for pid in children if "pipeline.training.ddp_worker" in Path(f"/proc/{pid}/cmdline").read_text()
    )


def wait_for(condition: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.02)


def training(folder: Path) -> Callable[[], bool]:
    return lambda: any(folder.glob("run/*/checkpoints/last.ckpt"))


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


@pytest.mark.slow
def test_one_run_that_breaks_early(program: Program, tmp_path: Path) -> None:
    """All processes end, and the run appears once."""
    process = program("batchnorm=none", "optimizer=sgd", "optimizer.lr=1000")
    out, err = process.communicate(timeout=120)
    assert process.returncode == 3
    assert out.count("train     FAILED") == 1
    assert not err
    assert len(list((tmp_path / "run").iterdir())) == 1


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_and_resume(program: Program, tmp_path: Path, number: int) -> None:
    """A signal ends all processes, and one process can continue what two began."""
    process = program("stages.train.epochs=40")
    wait_for(training(tmp_path))
    worker = worker_of(process)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number, err
    wait_for(lambda: gone(worker), 15)
    result = pipeline.run([f"outputs={tmp_path}", *SMALL, "stages.train.epochs=40", "resume=auto"], quiet=True)
    record = json.loads((result.directory / "outcome.json").read_text())
    assert record["resumed_from"]
    assert [row["epoch"] for row in result.metrics["train"]["history"]] == list(range(40))


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc")
def test_death_of_a_process(program: Program, tmp_path: Path) -> None:
    process = program("stages.train.epochs=1000")
    wait_for(training(tmp_path))
    os.kill(worker_of(process), signal.SIGKILL)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "process 1" in err
    assert json.loads((tmp_path / "latest" / "outcome.json").read_text())["status"] == "error"

    process = program("stages.train.epochs=1000", "name=second")
    wait_for(lambda: any(tmp_path.glob("second/*/checkpoints/last.ckpt")))
    worker = worker_of(process)
    process.kill()
    process.wait()
    wait_for(lambda: gone(worker), 15)


NOISY_MODULE = """
import torch
print("printed when imported")
class Noisy(torch.nn.Sequential):
    def __init__(self, input_shape, classes):
        super().__init__(torch.nn.Flatten(), torch.nn.Linear(input_shape[0] * input_shape[1] * input_shape[2], classes))
    def forward(self, pixels):
        print("printed at every step" * 5_000)
        return super().forward(pixels)
"""


@pytest.mark.slow
def test_network_that_prints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It prints more than fits into the pipe through which a worker says that it is ready."""
    (tmp_path / "noisy.py").write_text(NOISY_MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PIPELINE_ALLOW", "noisy.Noisy")
    overrides = [
        "data=digits",
        "stage=train",
        "stages.train.epochs=1",
        "checks=off",
        "batchnorm=none",
        "trainer.timeout=20",
    ]
    model = ["model=custom", "model._target_=noisy.Noisy"]
    assert pipeline.run([f"outputs={tmp_path}", *overrides, *model, TWO], quiet=True).status == "passed"


# ------------------------------------------------------------------------------------------ threads


def test_threads_per_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.training.ddp.available_cores", lambda: 8)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    assert [threads_per_process(n) for n in range(1, 10)] == [8, 4, 2, 2, 1, 1, 1, 1, 1]
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)  # what the user chose is not raised
    assert threads_per_process(2) == 1


def test_wrong_options_are_refused(tmp_path: Path) -> None:
    for override, field in [
        ("trainer.devices=9999", "trainer.devices"),
        ("trainer.sync_batchnorm=true", "trainer.sync_batchnorm"),
        ("trainer.accumulate=100", "trainer.accumulate"),
        ("trainer.strategy=ddp_spawn", "trainer.strategy"),
        ("data.batch_size=718", "data.batch_size"),  # a last batch of one, for two processes
        ("data.batch_size=359", "data.batch_size"),
        ("data.batch_size=2", "data.batch_size"),
    ]:
        with pytest.raises(UserError) as refused:
            pipeline.run([f"outputs={tmp_path}", *SMALL, TWO, "trainer.accelerator=cpu", override], quiet=True)
        assert refused.value.field == field
    assert not list(tmp_path.iterdir())
