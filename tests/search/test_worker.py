"""Tasks as a worker runs them, with real trainings."""

from __future__ import annotations

import dataclasses
import gc
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.config.compose import compose_config
from pipeline.config.to_dict import to_dict
from pipeline.data import Images, Splits
from pipeline.errors import UserError
from pipeline.runs.json_files import read_outcome, read_signals
from pipeline.search.records import BROKEN, COMPLETE, CRASHED, PRUNED, Parameter, Round
from pipeline.search.space.trial_configs import TrialConfigs
from pipeline.search.workers.task import Task
from pipeline.search.workers.worker import TrialRunner
from pipeline.training.lightning_module import Classifier
from pipeline.workflow import build
from pipeline.workflow.build import load_data
from tests.search.shell import TINY

LR = Parameter("optimizer.lr", "float", low=1e-3, high=1e-1, log=True)
CONFIGS = TrialConfigs([*TINY, "batchnorm=none"], (LR,))


def run_trial(
    should_prune: Callable[[int, float], bool] = lambda epoch, score: False,
    *,
    epochs: int = 2,
    rate: float = 0.01,
    asks_pruner: bool = True,
    directory: Path | None = None,
    metric: str = "val_accuracy",
) -> dict[str, Any]:
    config = CONFIGS.for_trial(Round("coarse", (LR,), 1, epochs), {"optimizer.lr": rate})
    task = Task(
        config=config, overrides=(f"optimizer.lr={rate}",), directory=directory, metric=metric,
        asks_pruner=asks_pruner,
    )  # fmt: skip
    return TrialRunner(should_prune).run(task)


def test_pruner_is_asked_while_time_can_be_saved() -> None:
    """After each epoch but the last."""
    epochs: list[int] = []

    def record(epoch: int, score: float) -> bool:
        epochs.append(epoch)
        return False

    assert run_trial(record, epochs=3)["state"] == COMPLETE
    assert epochs == [0, 1]
    run_trial(record, epochs=3, asks_pruner=False)
    assert epochs == [0, 1]


def test_pruned_trial() -> None:
    result = run_trial(lambda epoch, score: epoch == 1, epochs=5)
    assert (result["state"], len(result["scores"])) == (PRUNED, 2)
    assert result["score"] == result["scores"][-1]


@pytest.mark.parametrize(("rate", "state"), [(500, BROKEN), (-1.0, CRASHED)])
def test_bad_rate(rate: float, state: str, tmp_path: Path) -> None:
    result = run_trial(rate=rate, directory=tmp_path / "0000")
    assert result["state"] == state
    assert result["reason"]
    assert (tmp_path / "0000").exists() == (state == BROKEN)


def test_error_in_a_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    """It becomes the state of the trial, with the place where it was raised."""

    def fail(node: Mapping[str, Any]) -> Splits:
        raise OSError("disk on fire")

    monkeypatch.setattr(build, "load_data", fail)
    result = run_trial()
    assert result["state"] == CRASHED
    assert "OSError: disk on fire (test_worker.py:" in result["reason"]


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), MemoryError()])
def test_out_of_memory_in_a_trial(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is recorded with the keys that help, and the worker goes on."""

    def fail(self: Classifier, *args: Any) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(Classifier, "on_fit_start", fail)
        result = run_trial()
    assert result["state"] == CRASHED
    assert "data.batch_size=" in result["reason"]
    assert "search.workers=" in result["reason"]
    assert "\n" not in result["reason"]
    assert run_trial()["state"] == COMPLETE


def test_network_of_a_trial_is_released(monkeypatch: pytest.MonkeyPatch) -> None:
    """Garbage collection on its own comes after a dozen short trials, and the networks of all are in memory then."""
    classifiers: list[weakref.ref[Classifier]] = []
    initialize = Classifier.__init__

    def remember(self: Classifier, *args: Any, **options: Any) -> None:
        initialize(self, *args, **options)
        classifiers.append(weakref.ref(self))

    monkeypatch.setattr(Classifier, "__init__", remember)
    gc.disable()
    try:
        for rate in (0.01, 500):
            run_trial(rate=rate)
        assert [classifier() for classifier in classifiers] == [None, None]
    finally:
        gc.enable()


def test_record_of_a_trial(tmp_path: Path) -> None:
    """It is that of a run, and replaces the record of a worker that was killed."""
    directory = tmp_path / "trials" / "0003"
    directory.mkdir(parents=True)
    (directory / "half").write_text("")
    result = run_trial(directory=directory)
    assert result["directory"] == "trials/0003"
    assert sorted(path.name for path in directory.iterdir()) == [".hydra", "outcome.json", "signals.json"]
    record = read_outcome(directory)
    assert record is not None
    assert [stage["name"] for stage in record["stages"]] == ["train"]
    assert record["command"] == "python -m pipeline optimizer.lr=0.01"
    assert read_signals(directory)
    assert [path.name for path in directory.parent.iterdir()] == ["0003"]


def test_test_split_has_no_influence(monkeypatch: pytest.MonkeyPatch) -> None:
    def with_another_test_split(node: Mapping[str, Any]) -> Splits:
        data = load_data(node)
        return dataclasses.replace(data, test=Images(255 - data.test.pixels, data.test.labels.flip(0)))

    def learn() -> dict[str, Any]:
        result = run_trial()
        return {key: result[key] for key in ("state", "score", "scores", "metrics")}

    expected = learn()
    monkeypatch.setattr(build, "load_data", with_another_test_split)
    assert learn() == expected


@pytest.mark.parametrize(
    ("overrides", "status"),
    [
        (["stage=[sanity,train]"], "passed"),
        (["stage=[sanity,train]", "init=zeros"], "failed"),
        (["stage=[train]"], None),
    ],
)
def test_sanity_check(overrides: list[str], status: str | None, tmp_path: Path) -> None:
    config = to_dict(compose_config([*TINY, *overrides]))
    task = Task(config=config, overrides=(), directory=tmp_path, metric="val_accuracy", is_sanity_check=True)
    result = TrialRunner(lambda epoch, score: False).run(task)
    assert result["examples"] == 180
    assert (result["stage"] and result["stage"]["status"]) == status
    assert (tmp_path / "outcome.json").exists() == (status is not None)


def test_wrong_configuration(tmp_path: Path) -> None:
    config = to_dict(compose_config([*TINY, "data.validation=2"]))
    task = Task(config=config, overrides=(), directory=tmp_path, metric="val_accuracy", is_sanity_check=True)
    error = TrialRunner(lambda epoch, score: False).run(task)
    assert isinstance(error, UserError)
    assert error.field == "data.validation"


def test_metric_of_all_outputs() -> None:
    """It is computed after each epoch, and chooses the best one."""
    result = run_trial(metric="val_f1")
    assert result["state"] == COMPLETE
    assert len(result["scores"]) == 2
    assert result["metrics"]["val_f1"] == max(result["scores"])


def test_metric_of_another_task(tmp_path: Path) -> None:
    config = to_dict(compose_config([*TINY, "stage=[train]"]))
    task = Task(config=config, overrides=(), directory=tmp_path, metric="val_r2", is_sanity_check=True)
    error = TrialRunner(lambda epoch, score: False).run(task)
    assert isinstance(error, UserError)
    assert error.field == "search.metric"
