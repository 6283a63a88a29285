"""A training that goes on for more epochs: its rates, what may differ, and what becomes of the stages after it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

import pipeline
from pipeline.errors import UserError
from pipeline.workflow.train_longer import changed_keys, check_train_longer
from tests.resumed_training import STEPS, read, resumed, train
from tests.small_run import MakeRun, SmallRun


def rates_after(small_run: MakeRun, schedule: str, epochs: int, more: int) -> tuple[list[float], list[float]]:
    """The rate of each epoch of a training that goes on, and of one that was as long from the start."""
    options = (f"schedule={schedule}", "trainer.steps_per_call=1")
    small = small_run(*options)
    train(epochs)(*small, [])
    later, outcome = resumed(train(more), small_run(*options), small.context.directory / "checkpoints" / "last.ckpt")
    whole = train(more)(*small_run(*options), [])
    assert len(outcome.metrics["history"]) == more
    assert read(later)["global_step"] == more * STEPS
    return [[row["lr"] for row in o.metrics["history"]] for o in (outcome, whole)]  # type: ignore[return-value]


@pytest.mark.parametrize("schedule", ["cosine", "one_cycle", "warmup_cosine"])
def test_rates_of_the_new_length(small_run: MakeRun, schedule: str) -> None:
    longer, whole = rates_after(small_run, schedule, 2, 5)
    assert longer[2:] == pytest.approx(whole[2:], rel=1e-12)
    assert longer[1] < whole[1], "the first epochs had the rates of the short training"
    assert longer[2] > longer[1]


@pytest.mark.parametrize("schedule", ["constant", "step", "exponential"])
def test_rates_without_a_length(small_run: MakeRun, schedule: str) -> None:
    longer, whole = rates_after(small_run, schedule, 2, 4)
    assert longer == pytest.approx(whole, rel=1e-12)


def test_momentum_follows_the_schedule(small_run: MakeRun) -> None:
    """one_cycle can move the momentum too, and its limits are in the optimizer's groups."""
    options = ("schedule=one_cycle", "schedule.scheduler.cycle_momentum=true", "schedule.scheduler.max_lr=0.3")
    small = small_run(*options)
    train(2)(*small, [])
    later, _ = resumed(train(4), small_run(*options), small.context.directory / "checkpoints" / "last.ckpt")
    whole = small_run(*options)
    train(4)(*whole, [])
    ends = [read(run)["optimizer_states"][0]["param_groups"][0] for run in (later, whole)]
    assert ends[0].keys() == ends[1].keys()
    for key in ("lr", "initial_lr", "max_lr", "min_lr", "momentum"):
        assert math.isclose(ends[0][key], ends[1][key], rel_tol=1e-12), key


@pytest.fixture
def short(small_run: MakeRun) -> SmallRun:
    small = small_run()
    config = small.components.config
    config = config | {"stages": config["stages"] | {"train": config["stages"]["train"] | {"epochs": 2}}}
    small = small.replace(config=config)
    train(2)(*small, [])
    return small


def changed(config: dict[str, Any], **values: Any) -> dict[str, Any]:
    """Return the configuration with values at keys, whose dots are written as __."""
    for key, value in values.items():
        *path, last = key.split("__")
        config = node = {**config}
        for name in path:
            node[name] = {**node[name]}
            node = node[name]
        node[last] = value
    return config


@pytest.mark.parametrize(
    ("values", "goes_on"),
    [
        ({"stages__train__epochs": 5}, True),
        ({"stages__train__epochs": 5, "stages__train__patience": 3, "report": False, "outputs": "x"}, True),
        ({"stages__train__epochs": 5, "checks__fail_on": "never"}, True),
        ({"stages__train__epochs": 5, "optimizer__lr": 0.5}, False),
        ({"stages__train__epochs": 5, "trainer__new_key": None}, True),  # of a later version
        ({"optimizer__lr": 0.5}, False),
        ({"stages__train__patience": 3}, False),
        ({}, False),
    ],
)
def test_what_may_differ(short: SmallRun, values: dict[str, Any], goes_on: bool) -> None:
    config = changed(short.components.config, **values)
    checkpoint = short.context.directory / "checkpoints" / "last.ckpt"
    assert (check_train_longer(checkpoint, config) is not None) == goes_on
    assert set(changed_keys(checkpoint, config)) == {
        key.replace("__", ".") for key in values if key not in ("report", "outputs", "trainer__new_key")
    }
    assert check_train_longer(None, config) is None


@pytest.mark.parametrize("epochs", [1])
def test_fewer_epochs(short: SmallRun, epochs: int) -> None:
    config = changed(short.components.config, stages__train__epochs=epochs)
    with pytest.raises(UserError) as error:
        check_train_longer(short.context.directory / "checkpoints" / "last.ckpt", config)
    assert error.value.field == "stages.train.epochs"


@pytest.mark.slow
def test_a_finished_run_goes_on(tmp_path: Path) -> None:
    """The first run stays as it is; the stages before the training are taken over, those after it run again."""
    base = [f"outputs={tmp_path}", "report=false", "data=digits", "data.limit=200", "model=mlp", "model.depth=1"]
    first = pipeline.run([*base, "stages.train.epochs=2"])
    before = {path: path.read_bytes() for path in first.directory.rglob("*") if path.is_file()}
    more = pipeline.run([*base, "stages.train.epochs=4", f"resume={first.directory}"])
    assert more.directory != first.directory
    assert {path: path.read_bytes() for path in first.directory.rglob("*") if path.is_file()} == before
    assert [row["epoch"] for row in more.metrics["train"]["history"]] == [0, 1, 2, 3]
    assert more.metrics["train"]["history"][:2] == first.metrics["train"]["history"]
    assert more.metrics["evaluate"] != first.metrics["evaluate"]
    with pytest.raises(UserError) as error:
        pipeline.run([*base, "stages.train.epochs=4", "optimizer.lr=0.5", f"resume={first.directory}"])
    assert error.value.field == "resume"
    assert "optimizer.lr" in error.value.message
