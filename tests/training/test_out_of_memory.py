"""A run for which memory is too small: the error, the record, the sizes, and the overrides that help."""

from __future__ import annotations

import copy
import functools
import json
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import pipeline
from pipeline.config.compose import compose_config
from pipeline.config.instantiate import call_with_path
from pipeline.config.to_dict import to_dict
from pipeline.errors import USER_ERROR, Interrupted, UserError
from pipeline.search.records import CRASHED
from pipeline.search.workers.task import Task
from pipeline.search.workers.worker import TrialRunner
from pipeline.training import device
from pipeline.training.device import DeviceConfig
from pipeline.training.ensemble_members import member_probabilities
from pipeline.training.lightning_module import EVALUATION_BATCH, Classifier
from pipeline.training.memory_overrides import MemoryUse, suggest_overrides
from pipeline.training.out_of_memory import (
    EVALUATING_FUNCTIONS,
    OutOfMemory,
    explain_out_of_memory,
    find_out_of_memory,
    format_size,
)
from pipeline.workflow import build
from tests.small_run import make_small_run
from tests.training.fake_allocator import DEVICE, FakeAllocator
from tests.training.hungry_network import DEVICE_ERROR, TARGET, TOO_MUCH

DIGITS = ("data=digits", "trainer=cpu", "data.batch_size=48", "stages.train.epochs=2", "report=false")


@functools.cache
def _composed() -> dict[str, Any]:
    return to_dict(compose_config(DIGITS))


def digits_config() -> dict[str, Any]:
    """Return the composed configuration; Hydra takes 0.4 s, so it composes once."""
    return copy.deepcopy(_composed())


@pytest.fixture(autouse=True)
def _allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIPELINE_ALLOW", TARGET)


def hungry(**where: Any) -> list[str]:
    """Return the overrides of a run in which memory runs out at a place of `HungryNetwork`."""
    return [*DIGITS, "model=custom", f"model._target_={TARGET}", *(f"+model.{k}={v}" for k, v in where.items())]


def run_out(outputs: Path, *overrides: str, **where: Any) -> str:
    """Run it, and return the message."""
    with pytest.raises(OutOfMemory) as refused:
        pipeline.run([f"outputs={outputs}", *hungry(**where), *overrides], quiet=True)
    return refused.value.message


def record_of(outputs: Path) -> dict[str, Any]:
    (path,) = outputs.glob("run/*/outcome.json")
    return json.loads(path.read_text())


# ------------------------------------------------------------------------------------------ runs


def test_in_the_training(tmp_path: Path) -> None:
    """The message has what torch's has, and the sizes of the run. The stages before it are on record."""
    message = run_out(tmp_path, "stage=[sanity,train]", where="training", size=48, device=True)
    assert "stage train (hungry_network.py:" in message
    for size in ("20 GiB", "12.31 MiB", "48 examples", "1,550", "6.1 KiB", "1,617", "1x8x8", "101.1 KiB"):
        assert size in message
    assert overrides_in(message) == ["data.batch_size=24 trainer.accumulate=2", "data.batch_size=auto"]
    record = record_of(tmp_path)
    assert (record["status"], record["exit_code"]) == ("error", USER_ERROR)
    assert [stage["name"] for stage in record["stages"]] == ["sanity"]


def test_in_sanity(tmp_path: Path) -> None:
    """The stage raises a `UserError` from the error. It looks at examples of its own, and nothing is left behind."""
    message = run_out(tmp_path, where="training", size=128)
    assert "stage sanity (hungry_network.py:" in message
    assert format_size(4 * TOO_MUCH) in message
    assert overrides_in(message) == ["stages.sanity.examples=64"]
    assert list(tmp_path.glob("run/*")) == []


@pytest.mark.parametrize(("stage", "size"), [("train", 359), ("evaluate", 180)])
def test_in_an_evaluation(stage: str, size: int, tmp_path: Path) -> None:
    """No batch size helps: 359 examples of the validation split, or 180 of the test split, are one pass."""
    message = run_out(tmp_path, "stage=[train,evaluate]", "data.validation=0.2", where="evaluation", size=size)
    assert f"stage {stage} " in message
    assert f"{EVALUATION_BATCH} examples" in message
    assert overrides_in(message) == []


def test_epochs_are_not_lost(tmp_path: Path) -> None:
    """Where another program has taken the memory in between, the run goes on from its last checkpoint."""
    passes = 2 * 30  # of 29 full batches in an epoch
    run_out(tmp_path, "stage=train", "stages.train.epochs=4", where="training", size=48, passes=passes)
    record = record_of(tmp_path)
    assert (record["status"], record["exit_code"]) == ("error", USER_ERROR)
    (checkpoint,) = tmp_path.glob("run/*/checkpoints/last.ckpt")
    assert torch.load(checkpoint, weights_only=True)["pipeline"]["epoch"] == 2


def test_while_building(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    message = run_out(tmp_path, where="constructor")
    assert "(hungry_network.py:" in message
    assert list(tmp_path.glob("*")) == []
    message = run_out(tmp_path, "data.batch_size=auto", where="training", device=True)  # not even 16 examples
    assert overrides_in(message) == ["data.batch_size=8"]

    def fail(node: object) -> None:
        np.empty(TOO_MUCH)

    monkeypatch.setattr(build, "load_data", fail)
    assert "256 TiB" in run_out(tmp_path, where="training")  # as numpy says it


def test_trial_of_a_search() -> None:
    """It is recorded, and the worker goes on."""
    config = to_dict(compose_config([*hungry(where="training", size=48), "search.workers=6"]))
    runner = TrialRunner(lambda epoch, score: False)
    for _ in range(2):
        result = runner.run(Task(config=config, overrides=(), directory=None, metric="val_accuracy"))
        assert result["state"] == CRASHED
        assert "search.workers=3" in result["reason"]
        assert "data.batch_size=24 trainer.accumulate=2" in result["reason"]


def overrides_in(message: str) -> list[str]:
    """Return the suggested overrides: lines after `try` begin with them."""
    lines = message.partition("\n  try ")[2].splitlines()
    found = [" ".join(word for word in line.split() if "=" in word) for line in lines]
    return [overrides for overrides in found if overrides]


# ------------------------------------------------------------------------------------------ which errors


def too_much_for_torch() -> None:
    torch.empty(TOO_MUCH)


def too_much_for_numpy() -> None:
    np.empty(TOO_MUCH)


def wrapped() -> None:
    try:
        torch.empty(TOO_MUCH)
    except RuntimeError as error:
        raise ValueError("the network cannot run") from error


def raised_from_itself() -> None:
    call_with_path(raising(UserError("no field")), "path")


def raising(error: BaseException) -> Callable[[], None]:
    def fail() -> None:
        raise error

    return fail


@pytest.mark.parametrize(
    ("fail", "depth"),
    [
        (too_much_for_torch, 1),
        (too_much_for_numpy, 1),
        (wrapped, 2),
        (raised_from_itself, 0),
        (raising(torch.OutOfMemoryError(DEVICE_ERROR)), 1),
        (raising(RuntimeError("CUDA error: out of memory")), 1),
        (raising(RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")), 1),
        (raising(RuntimeError("mat1 and mat2 shapes cannot be multiplied")), 0),
        (raising(ValueError("out of memory")), 0),
    ],
)
def test_which_errors(fail: Callable[[], None], depth: int) -> None:
    config = digits_config()
    with pytest.raises(OutOfMemory if depth else Exception) as raised, explain_out_of_memory(config):
        fail()
    assert isinstance(raised.value, OutOfMemory) == bool(depth)
    if depth:
        assert raised.value.__cause__ is not None
        assert len(find_out_of_memory(raised.value.__cause__)) == depth


def test_interruptions_pass() -> None:
    with pytest.raises(Interrupted), explain_out_of_memory({}):
        raise Interrupted(15)


def raising_twice() -> None:
    with explain_out_of_memory({}, stage="sanity"):
        raise MemoryError("first")


def test_explained_once() -> None:
    with pytest.raises(OutOfMemory) as raised, explain_out_of_memory({}, stage="train"):
        raising_twice()
    assert str(raised.value).endswith("first")  # the configuration has nothing to tell
    assert isinstance(raised.value.__cause__, MemoryError)


def test_memory_is_released() -> None:
    """Whoever keeps the error, as a notebook does, does not keep the tensors of the functions that it went through."""
    alive: list[weakref.ref[torch.Tensor]] = []

    def fail() -> None:
        held = torch.zeros(1000)
        alive.append(weakref.ref(held))
        network = nn.Linear(1000, 2)  # whose parameters are counted
        torch.empty(TOO_MUCH + int(network(held)[0]))

    with pytest.raises(OutOfMemory) as raised, explain_out_of_memory(digits_config(), stage="train"):
        fail()
    assert "2,002" in str(raised.value)
    assert raised.value.__cause__ is not None
    assert alive[0]() is None


def test_device_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a device there is what its allocator says, and its cache is emptied."""
    allocator = FakeAllocator(monkeypatch, total=80 * 2**30, others=2**30)
    monkeypatch.setattr(DeviceConfig, "device", DEVICE)
    allocator.allocate(70 * 2**30)
    allocator.free(69 * 2**30)
    config = digits_config()
    with pytest.raises(OutOfMemory) as raised, explain_out_of_memory(config, stage="train"):
        allocator.allocate(100 * 2**30)
    for size in ("100.0 GiB", "80.0 GiB", "70.0 GiB", "78.0 GiB"):  # asked for, total, peak, free
        assert size in str(raised.value)
    assert allocator.reserved == 2**30
    with pytest.raises(OutOfMemory) as raised, explain_out_of_memory(config, stage="train"):
        too_much_for_numpy()
    assert "80.0 GiB" not in str(raised.value)  # the host's memory ran out


def test_names_of_functions() -> None:
    assert [Classifier.score.__name__, member_probabilities.__name__] == list(EVALUATING_FUNCTIONS)


# ------------------------------------------------------------------------------------------ overrides


def use_of(*overrides: str, total: float = 1e9, is_computing_memory: bool = True, **fields: Any) -> MemoryUse:
    """Return what a training on digits with `overrides` uses."""
    components = make_small_run(Path(), "data.limit=null", "data.batch_size=48", *overrides).components
    defaults = {"stage": "train", "is_evaluation": False, "is_trial": False, "data": components.data}
    return MemoryUse(
        components.config,
        components.device_config,
        total=total,
        is_computing_memory=is_computing_memory,
        **(defaults | fields),
    )


def suggested(use: MemoryUse) -> list[str]:
    return [overrides for overrides, _ in suggest_overrides(use)]


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this machine seem to have a GPU, on which nothing runs."""
    monkeypatch.setattr(device, "count_accelerators", lambda: {"gpu": 1, "cpu": 2})


@pytest.mark.parametrize(
    ("overrides", "suggestion"),
    [
        (["data.batch_size=48"], "data.batch_size=24 trainer.accumulate=2"),
        (["data.batch_size=24", "trainer.accumulate=2"], "data.batch_size=12 trainer.accumulate=4"),
        (["data.batch_size=1435"], "data.batch_size=717"),  # two passes would share the two examples of the last step
        (["data.batch_size=3"], None),  # batchnorm needs two examples
        (["data.batch_size=3", "batchnorm=none"], "data.batch_size=1 trainer.accumulate=2"),
        (["data.batch_size=1", "batchnorm=none"], None),
    ],
)
def test_half_of_the_batch(overrides: list[str], suggestion: str | None) -> None:
    found = [
        words for words in suggested(use_of(*overrides)) if words.startswith("data.batch_size") and "auto" not in words
    ]
    assert found == ([suggestion] if suggestion else [])
    for words in found:
        use_of(*overrides, *words.split())  # is accepted


@pytest.mark.parametrize(
    ("overrides", "helps"),
    [
        (["data.batch_size=48"], True),
        (["data.batch_size=16"], False),  # auto begins with as many
        (["data.batch_size=48", "trainer.accumulate=5"], False),  # 20 steps of 80 examples are more than 1,437
        (["data.batch_size=48", "trainer.accumulate=4"], True),
    ],
)
def test_auto(overrides: list[str], helps: bool) -> None:
    assert ("data.batch_size=auto" in suggested(use_of(*overrides))) == helps


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["stages.sanity.examples=80"], "stages.sanity.examples=40"),
        (["stages.sanity.examples=40"], "stages.sanity.examples=20 stages.sanity.fit_examples=20"),
        (["stages.overfit.examples=8"], "stages.overfit.examples=4"),
        (["stages.overfit.examples=3"], None),
    ],
)
def test_examples_of_a_stage(overrides: list[str], words: str | None) -> None:
    stage = overrides[0].split(".")[1]
    found = [each for each in suggested(use_of(*overrides, stage=stage)) if each.startswith("stages")]
    assert found == ([words] if words else [])
    for each in found:
        use_of(*overrides, *each.split())  # is accepted


@pytest.mark.usefixtures("gpu")
def test_savings_on_a_gpu() -> None:
    """Half precision everywhere; in the training no graph, and the images elsewhere if they take a large share."""
    image_bytes = use_of().image_bytes
    assert image_bytes == (1437 + 180) * 64
    half, graph, host = "trainer.precision=bf16-mixed", "trainer.cuda_graph=false", "trainer.images_on=host"
    large = {"total": 9 * image_bytes}

    def savings(*overrides: str, **fields: Any) -> list[str]:
        words = suggested(use_of("trainer=gpu", *overrides, **fields))
        return [each for each in words if each.startswith("trainer.")]

    assert savings(**large) == [half, graph, host]
    assert savings(total=11 * image_bytes) == [half, graph]
    assert savings(half, **large) == [graph, host]
    assert savings(graph, **large) == [half, host]
    assert savings(host, **large) == [half, graph]
    assert savings(total=1.9 * image_bytes) == [half, graph]  # auto leaves more than half of the memory on the host
    assert savings("trainer.images_on=device", total=1.9 * image_bytes) == [half, graph, host]
    assert savings(stage="overfit", **large) == [half]
    assert savings(stage="train", is_evaluation=True, **large) == [half, graph, host]
    assert savings(is_computing_memory=False) == []
    assert savings(host, is_computing_memory=False) == ["trainer.images_on=device"]
    assert suggested(use_of("trainer=gpu", is_computing_memory=False, is_trial=True))[0] == "search.workers=1"
    words = suggested(use_of("trainer=cpu", **large))
    assert not {half, graph, host} & set(words)


def test_fewer_workers() -> None:
    assert "search.workers=2" in suggested(use_of("search.workers=5", is_trial=True))
    assert "search.workers=1" in suggested(use_of(is_trial=True))
    for use in (use_of("search.workers=1", is_trial=True), use_of("search.workers=5")):
        assert not any(words.startswith("search") for words in suggested(use))


def test_smaller_networks() -> None:
    """They change the result most, and come last."""
    assert suggested(use_of("model.width=50"))[-1] == "model.width=25"
    assert suggested(use_of("model.width=1"))[-1] == "data.batch_size=auto"
    config = to_dict(compose_config(["data=image_folder", "data.path=x", "data.size=64", "model=mlp", "model.width=9"]))
    use = use_of()
    words = suggested(MemoryUse(**{**vars(use), "config": config, "data": None, "stage": None}))
    assert words == ["model.width=4", "data.size=32"]
