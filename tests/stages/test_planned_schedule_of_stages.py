"""The learning-rate schedule as the stages see it: before training, and while it runs."""

from __future__ import annotations

import json
from typing import Any

import pytest

import pipeline
from pipeline.checks import Finding
from pipeline.errors import UserError
from tests.resumed_training import STEPS, train
from tests.small_run import MakeRun

BY_EPOCH = ("schedule=one_cycle", "schedule.interval=epoch", "schedule.length_argument=null")
PLATEAU = ("schedule=plateau", "schedule.scheduler.patience=0", "schedule.scheduler.mode=max")


@pytest.mark.parametrize("optimizer", [(), ("optimizer=adam", "optimizer.lr=1e-4")])
@pytest.mark.parametrize("interval", ["epoch", "step"])
def test_a_schedule_in_steps_is_named_before_training(tmp_path: Any, optimizer: tuple[str, ...], interval: str) -> None:
    """Twenty epochs of 23 steps: a one-cycle schedule of 460 moves."""
    overrides = ["data=digits", "model=mlp", "model.width=16", "trainer=cpu", "report=false", *optimizer, *BY_EPOCH]
    overrides += [f"schedule.interval={interval}", "+schedule.scheduler.total_steps=460", "stages.train.epochs=20"]
    with pytest.MonkeyPatch.context() as patch:  # the checks alone, not a training of twenty epochs
        patch.setattr("pipeline.stages.train.Train.__call__", _stop)
        with pytest.raises(InterruptedError):
            pipeline.run([*overrides, "stage=[sanity,train]", f"outputs={tmp_path}"], quiet=True)
    findings = _findings(tmp_path)
    assert [finding["check"] for finding in findings] == ["schedule_length"] * (interval == "epoch")
    if findings:
        assert findings[0]["measured"] == {"moves": 20.0, "length": 460.0}
        assert findings[0]["remedy"] == ["schedule.interval=step"]


def _stop(*_: Any) -> None:
    raise InterruptedError


def _findings(folder: Any) -> list[dict[str, Any]]:
    record = json.loads(next(folder.rglob("outcome.json")).read_text())
    return [finding for finding in record["stages"][0]["findings"] if finding["severity"] != "info"]


def test_a_schedule_that_breaks_down_is_refused_before_training(small_run: MakeRun) -> None:
    small = small_run("schedule=one_cycle", "schedule.length_argument=null", f"schedule.scheduler.total_steps={STEPS}")
    train(1)(*small, [])
    with pytest.raises(UserError) as caught:
        train(2)(*small, [])
    assert caught.value.field == "schedule.scheduler"
    assert f"move {STEPS + 1} of {2 * STEPS}" in str(caught.value)


def test_the_plan_is_that_of_the_training(small_run: MakeRun) -> None:
    """The rate at the end of each epoch is the planned one."""
    small = small_run("schedule=cosine")
    signals = train(3)(*small, []).signals
    assert signals["schedule"] == "CosineAnnealingLR"
    assert (signals["schedule_moves"], signals["schedule_other_moves"]) == (3 * STEPS, 3)
    ends = [round(step) for step in signals["epochs"]["step"]]
    planned = [*signals["planned_rates"], 0.0]
    assert [planned[end] for end in ends] == pytest.approx(signals["epochs"]["lr"], abs=1e-12)


def test_a_plateau_that_falls_early_is_told_while_it_trains(small_run: MakeRun) -> None:
    reported: list[Finding] = []
    outcome = train(5)(*small_run(*PLATEAU, on_finding=reported.append), [])
    assert [finding.check for finding in reported] == ["rate_falls_early"]
    assert outcome.signals["schedule_mode"] == "max"
    reported.clear()
    train(2)(*small_run(*PLATEAU, on_finding=reported.append), [outcome])  # an earlier stage has reported it
    assert reported == []


def test_a_usual_plateau_is_not(small_run: MakeRun) -> None:
    outcome = train(5)(*small_run("schedule=plateau"), [])
    assert "rate_falls_early" not in [finding.check for finding in outcome.findings]
