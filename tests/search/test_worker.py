"""A trial as a worker runs it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from pipeline.data import Images, Splits
from pipeline.search.records import COMPLETE, PRUNED, Parameter, Round
from pipeline.search.space.trial_configs import TrialConfigs
from pipeline.search.workers.task import Task
from pipeline.search.workers.worker import TrialRunner
from pipeline.workflow import build
from pipeline.workflow.build import load_data
from pipeline.workflow.runner import silence_library_warnings
from tests.search.shell import TINY

LR = Parameter("optimizer.lr", "float", low=1e-3, high=1e-1, log=True)


def run(ask: Callable[[int, float], bool], *, epochs: int, report: bool = True) -> dict[str, Any]:
    round = Round("coarse", (LR,), 1, epochs)
    config = TrialConfigs(TINY, (LR,)).for_trial(round, {"optimizer.lr": 0.01})
    task = Task(config=config, overrides=(), directory=None, metric="val_accuracy", report=report)
    with silence_library_warnings():
        return TrialRunner(ask).run(task)


def test_whether_a_trial_is_hopeless_is_asked_while_something_can_be_saved() -> None:
    asked: list[int] = []

    def ask(epoch: int, score: float) -> bool:
        asked.append(epoch)
        return False

    assert run(ask, epochs=3)["state"] == COMPLETE
    assert asked == [0, 1]
    run(ask, epochs=3, report=False)
    assert asked == [0, 1]


def test_a_hopeless_trial_is_stopped() -> None:
    result = run(lambda epoch, score: epoch == 1, epochs=5)
    assert result["state"] == PRUNED
    assert len(result["scores"]) == 2
    assert result["reason"].startswith("hopeless after 2 epochs")


def test_a_trial_does_not_know_the_test_split(monkeypatch: pytest.MonkeyPatch) -> None:
    def with_another(node: Mapping[str, Any]) -> Splits:
        data = load_data(node)
        return dataclasses.replace(data, test=Images(255 - data.test.pixels, data.test.labels.flip(0)))

    def learned() -> dict[str, Any]:
        result = run(lambda epoch, score: False, epochs=2)
        return {key: result[key] for key in ("state", "score", "scores", "metrics")}

    before = learned()
    monkeypatch.setattr(build, "load_data", with_another)
    assert learned() == before
