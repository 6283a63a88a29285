"""All stages of a run, and what else trains or predicts, with the network on a simulated GPU."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import pipeline
from pipeline.config.compose import compose_config
from pipeline.config.to_dict import to_dict
from pipeline.search.records import COMPLETE
from pipeline.search.workers.task import Task
from pipeline.search.workers.worker import TrialRunner
from pipeline.workflow import stage_loop
from pipeline.workflow.components import Components, RunContext
from tests.resumed_training import differences, read, resumed, stopped, train
from tests.simulated_device import NAME as DEVICE
from tests.simulated_device import SimulatedModule
from tests.small_run import MakeRun

SMALL = ("data=digits", "data.limit=200", "model.width=4", "model.depth=2", "report=false")
ALL_STAGES = (
    "stage=[sanity,overfit,lr_range,train,ensemble,evaluate]", "stages.overfit.examples=10", "stages.lr_range.steps=30",
    "stages.train.epochs=2",
)  # fmt: skip
SANITY = ("stages.sanity.fit_rounds=2", "stages.sanity.examples=64")
TRAIN = ("stage=train", "stages.train.epochs=2")
EXACT = "trainer.precision=32-true"
GPU, CPU = ("trainer=gpu", EXACT), ("trainer=cpu", EXACT)


def run(outputs: Path, *overrides: str) -> tuple[Any, dict[str, Any]]:
    """Return the result of a run, and the numbers that its stages measured."""
    result = pipeline.run([f"outputs={outputs}", *SMALL, *overrides], quiet=True)
    return result, json.loads((result.directory / "signals.json").read_text())["stages"]


def shared_tensors(components: Components) -> Iterator[Tensor]:
    """Yield the tensors that the stages of a run share."""
    yield from components.preprocessing.buffers()
    for images in components.data.splits.values():
        yield from (images.pixels, images.labels)


@pytest.fixture(autouse=True)
def _stages_move_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Assert after every stage that what all stages share has stayed in the memory of the host."""
    run_stage = stage_loop.run_stage

    def run_and_look(components: Components, context: RunContext, name: str, earlier: Any) -> Any:
        outcome = run_stage(components, context, name, earlier)
        assert {tensor.device.type for tensor in shared_tensors(components)} == {"cpu"}, name
        return outcome

    monkeypatch.setattr(stage_loop, "run_stage", run_and_look)


def test_all_stages_measure_what_the_cpu_measures(tmp_path: Path, simulated_gpu: SimulatedModule) -> None:
    """The device computes with the kernels of the CPU, so that every number of every stage is the same."""
    options = (*ALL_STAGES, *SANITY, "logger=csv", "augmentation=crop_flip", "report=true", "checks=off")
    gpu, measured = run(tmp_path, *options, *GPU)
    assert simulated_gpu.calls["convolution_backward_overrideable"] > 100
    cpu, expected = run(tmp_path, *options, *CPU)
    assert gpu.status == cpu.status == "passed"
    assert [outcome.name for outcome in gpu.outcomes] == [outcome.name for outcome in cpu.outcomes]
    assert differences(measured, expected) == []
    for name in ("lr_range", "evaluate"):
        metrics, of_cpu = gpu.metrics[name], cpu.metrics[name]
        assert differences(metrics | {"checkpoint": ""}, of_cpu | {"checkpoint": ""}) == []


def test_evaluation_of_other_checkpoints(tmp_path: Path) -> None:
    """Checkpoints with tensors of the device are read on the CPU, and the other way round."""
    trained, _ = run(tmp_path, *GPU, *TRAIN, "model=mlp")
    path = trained.directory / "checkpoints" / "best.ckpt"
    results = [
        run(tmp_path, *trainer, "stage=evaluate", "model=mlp", f"stages.evaluate.checkpoint={path}")[0]
        for trainer in (GPU, CPU)
    ]
    assert results[0].metrics["evaluate"]["confusion"] == results[1].metrics["evaluate"]["confusion"]


def test_fix(tmp_path: Path) -> None:
    result, _ = run(tmp_path, *GPU, "stage=sanity", *SANITY, "model=mlp", "init=zeros", "fix=true")
    assert ("symmetric_units", ("init=he",)) in [(fix.check, fix.remedy) for fix in result.fixes if fix.kept]


def test_trials_of_a_search(tmp_path: Path) -> None:
    """The worker checks the configuration, and its trials share data and preprocessing."""
    runner = TrialRunner(lambda epoch, score: False)
    task = {"overrides": (), "metric": "val_accuracy"}
    stages = ("stage=[sanity,train]", "stages.train.epochs=2", *SANITY)
    config = to_dict(compose_config([*SMALL, *GPU, *stages, "preprocessing=whiten", "init=lsuv"]))
    checked = runner.run(Task(config=config, directory=tmp_path / "sanity", is_sanity_check=True, **task))
    assert checked["stage"]["status"] == "passed", checked
    for number in range(2):
        trial = runner.run(Task(config=config | {"seed": number}, directory=tmp_path / f"{number}", **task))
        assert (trial["state"], len(trial["scores"])) == (COMPLETE, 2), trial
    (preprocessing,) = runner.cache._entries["preprocessing"].values()
    assert {buffer.device.type for buffer in preprocessing.buffers()} == {"cpu"}


@pytest.mark.parametrize(("optimizer", "step"), [("momentum", 1), ("adam", 4), ("rmsprop", 6)])
def test_resumed_training(small_run: MakeRun, optimizer: str, step: int) -> None:
    """A training with dropout, which draws on the device, ends with the same bits when it is resumed.

    The first step is measured, and its gradients are in the checkpoint.
    """
    options = (
        "trainer=gpu", EXACT, "trainer.steps_per_call=1", "regularization=l2_dropout", "augmentation=crop_flip",
        f"optimizer={optimizer}", "schedule=plateau",
    )  # fmt: skip
    whole = small_run(*options)
    train(2)(*whole, [])
    path = stopped(train(2), small_run(*options), step)
    later, _ = resumed(train(2), small_run(*options), path)
    assert differences(read(whole), read(later)) == []


@pytest.mark.parametrize(
    "option",
    [
        ("trainer.accumulate=3",),
        ("batchnorm.recompute=true",),
        ("trainer.images_on=host", "augmentation=flip"),
        ("trainer.channels_last=false",),
        ("signals=off",),
        ("schedule=one_cycle",),
    ],
    ids="-".join,
)
def test_options_of_training(tmp_path: Path, option: tuple[str, ...]) -> None:
    gpu, cpu = (run(tmp_path, *trainer, *TRAIN, "checks=off", *option)[1] for trainer in (GPU, CPU))
    assert differences(gpu, cpu) == []


def test_chosen_batch_size(tmp_path: Path) -> None:
    result, measured = run(tmp_path, *GPU, *TRAIN, "data.batch_size=auto", "data.limit=1000")
    assert result.status == "passed"
    assert measured["train"]["batch_size"] in (16, 32)


@pytest.mark.parametrize("precision", ["bf16-mixed", pytest.param("16-mixed", marks=pytest.mark.slow)])
def test_reduced_precision(tmp_path: Path, precision: str) -> None:
    options = ("stage=[sanity,train,evaluate]", "stages.train.epochs=2", *SANITY, "checks=off")
    gpu, measured = run(tmp_path, "trainer=gpu", f"trainer.precision={precision}", *options)
    _, exact = run(tmp_path, *GPU, *options)
    assert gpu.status == "passed"
    assert measured["sanity"]["precision"] == precision
    assert measured["train"]["losses"] != exact["train"]["losses"]
    assert measured["train"]["losses"] == pytest.approx(exact["train"]["losses"], rel=0.05)


def test_predictor(tmp_path: Path) -> None:
    """It takes images of any device, and may be on any device itself."""
    trained, _ = run(tmp_path, *GPU, *TRAIN, "augmentation=flip")
    predictor = pipeline.load(trained.directory)
    images = torch.arange(5 * 64, dtype=torch.uint8).view(5, 1, 8, 8) % 17
    logits = predictor(images)
    assert torch.equal(predictor(images.to(DEVICE)), logits)
    predictor.network.to(DEVICE)
    predictor.preprocessing.to(DEVICE)
    for other in (images, images.to(DEVICE)):
        assert torch.equal(predictor(other), logits)
        assert len(predictor.predict_classes(other)) == 5
