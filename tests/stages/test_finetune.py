"""The second training: where it starts, what learns, at which rate, what is kept, and how it is resumed."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import pipeline
from pipeline.checks import Finding
from pipeline.checks.remedies import of_second_training
from pipeline.config.compose import compose_config
from pipeline.errors import Interrupted, UserError
from pipeline.loggers import LoggedRun, MultiLogger, Writer
from pipeline.model.pretrained import weights_file
from pipeline.report.run_files import read_run
from pipeline.report.stage_sections import stage_charts
from pipeline.runs.find_checkpoint import find_checkpoint
from pipeline.runs.paths import run_of_checkpoint
from pipeline.stages.ensemble import Ensemble
from pipeline.stages.evaluate import Evaluate
from pipeline.stages.finetune import Finetune
from pipeline.workflow.build import build_components
from pipeline.workflow.outcome import Outcome
from tests.resumed_training import RANDOM, STEPS, differences, stop_at, train, without_seconds
from tests.small_run import MakeRun, SmallRun

PROBE = ("model.frozen=['!output']", "model.depth=2")
WEIGHTS = {"hidden.dense1.linear.weight", "hidden.dense2.linear.weight", "output.weight"}
SMALL = ("data=digits", "data.limit=200", "model=mlp", "model.depth=1", "trainer=cpu", "report=false")


def finetune(epochs: int = 2, **options: Any) -> Finetune:
    fields = {"break_factor": 100.0, "patience": None, "monitor": "auto", "unfreeze": None, "lr_factor": 0.1}
    return Finetune(**({"epochs": epochs} | fields | options))


def both(small: SmallRun, second: Finetune, epochs: int = 2) -> tuple[Outcome, Outcome]:
    """Train twice and return both outcomes."""
    first = train(epochs)(*small, [])
    return first, second(*small, [first])


def read(small: SmallRun, name: str = "last", folder: str = "finetune") -> dict[str, Any]:
    return torch.load(small.context.directory / folder / "checkpoints" / f"{name}.ckpt", weights_only=True)


def weights(state: dict[str, Any]) -> dict[str, Tensor]:
    return {key.removeprefix("network."): value for key, value in state["state_dict"].items()}


@pytest.mark.parametrize(
    ("unfreeze", "learning"),
    [
        (None, {"dense1", "dense2", "output"}),
        (["hidden.dense2"], {"dense2", "output"}),
        (["*.dense2.*"], {"dense2", "output"}),
        (["!hidden.dense1"], {"dense2", "output"}),
        ([], {"output"}),
    ],
)
def test_what_learns(small_run: MakeRun, unfreeze: list[str] | None, learning: set[str]) -> None:
    small = small_run(*PROBE)
    both(small, finetune(1, unfreeze=unfreeze), epochs=1)
    start, end = weights(read(small, "best", ".")), weights(read(small))
    changed = {key for key in start if not torch.equal(start[key], end[key])}
    assert {key for key in changed if key in WEIGHTS} == {k for k in WEIGHTS if any(part in k for part in learning)}
    moved = {key for key in changed if "running_mean" in key}
    assert moved == {f"hidden.{part}.batchnorm.running_mean" for part in learning - {"output"}}


@pytest.mark.parametrize("options", [(), ("trainer.ema=0.9",), ("batchnorm.recompute=true",)])
def test_starts_from_the_best_checkpoint(small_run: MakeRun, options: tuple[str, ...]) -> None:
    """At a rate of almost zero the weights stay those of the best epoch, averaged ones where they are."""
    small = small_run("optimizer=sgd", "schedule=constant", "regularization=none", *options)
    first, second = both(small, finetune(1, lr_factor=1e-9))
    start, end = weights(read(small, "best", ".")), weights(read(small))
    for key in ("hidden.dense1.linear.weight", "output.weight"):
        torch.testing.assert_close(start[key], end[key], rtol=0, atol=1e-6)
    assert second.metrics["start_val_accuracy"] == first.metrics["val_accuracy"]
    assert second.metrics["lr"] == pytest.approx(1e-9 * first.metrics["lr"])


@pytest.mark.parametrize(
    "schedule", ["constant", "cosine", "exponential", "one_cycle", "plateau", "step", "warmup_cosine"]
)
def test_rates_are_a_fraction_of_the_schedule_over_its_own_epochs(small_run: MakeRun, schedule: str) -> None:
    small = small_run(f"schedule={schedule}", "model=mlp")
    _, second = both(small, finetune(3), epochs=1)
    other = small_run(f"schedule={schedule}", "model=mlp")
    whole = train(3)(*other, [])
    rates = [[row["lr"] for row in outcome.metrics["history"]] for outcome in (second, whole)]
    assert rates[0] == pytest.approx([0.1 * rate for rate in rates[1]], rel=1e-9)
    assert second.signals is not None
    assert second.signals["lr"] == pytest.approx(0.1 * small.components.lr)
    assert "init" in second.signals["ignored_keys"]


def test_layer_decay_holds(small_run: MakeRun) -> None:
    small = small_run("optimizer.layer_decay=0.5", "model.depth=2")
    both(small, finetune(1), epochs=1)
    factors = {group["rate_factor"] for group in read(small)["optimizer_states"][0]["param_groups"]}
    assert factors == {1.0, 0.5, 0.25}


@pytest.mark.parametrize("first", ["val_accuracy", "val_loss"])
def test_the_start_is_kept_where_no_epoch_comes_up_to_it(small_run: MakeRun, first: str) -> None:
    small = small_run("optimizer.lr=0.1", "schedule=constant", "checks.fail_on=never")
    outcome = train(4, monitor=first)(*small, [])
    second = finetune(1, lr_factor=1000.0)(*small, [outcome])
    assert second.metrics["keeps_start"]
    assert (second.metrics["best_epoch"], second.metrics["val_accuracy"]) == (-1, outcome.metrics["val_accuracy"])
    assert differences(read(small, "best"), read(small, "best", ".")) == []
    better = finetune(1)(*small, [outcome])
    assert not better.metrics["keeps_start"]
    assert read(small, "best")["pipeline"]["epoch"] == 1


@pytest.mark.parametrize("step", range(1, 2 * STEPS))
def test_resume_from_any_step_of_the_second_training(small_run: MakeRun, step: int) -> None:
    """An interrupted second training ends with the bits of the uninterrupted one; the first is not repeated."""
    options = (*RANDOM, *PROBE, "trainer.steps_per_call=1")
    whole = small_run(*options)
    _, outcome = both(whole, finetune(2), epochs=1)
    small = small_run(*options)
    first = train(1)(*small, [])
    with pytest.raises(Interrupted):
        finetune(2)(*stop_at(small, step), [first])
    later = small_run(*options).replace(resume_from=small.context.directory / "checkpoints" / "last.ckpt")
    again = train(1)(*later, [])
    assert len(again.metrics["history"]) == 1
    steps: list[float] = []
    later = later.replace(progress=lambda done, total, **_: steps.append(done))
    resumed = finetune(2)(*later, [again])
    assert steps[0] == step + 1
    for name in ("best", "last"):
        assert differences(read(whole, name), read(later, name)) == []
    assert without_seconds(resumed.metrics["history"]) == without_seconds(outcome.metrics["history"])


def test_another_start_begins_anew(small_run: MakeRun) -> None:
    """Where the first training went on, the second one of before has nothing to continue."""
    small = small_run()
    both(small, finetune(1), epochs=1)
    later = small_run().replace(resume_from=small.context.directory / "checkpoints" / "last.ckpt")
    longer = train(3)(*later, [])
    finetune(1)(*later, [longer])
    whole = small_run()
    finetune(1)(*whole, [train(3)(*whole, [])])
    start = [read(run)["pipeline"]["start"] for run in (small, later)]
    assert start[0] != start[1]
    assert read(later)["pipeline"]["epoch"] == 1


def test_order_of_the_data_is_another(small_run: MakeRun) -> None:
    small = small_run()
    seeds = {small.components.seed, finetune()._prepare(small.components).seed}
    assert len(seeds) == 2


def test_the_network_of_a_run_is_that_of_its_second_training(small_run: MakeRun, tmp_path: Path) -> None:
    small = small_run()
    outcomes = list(both(small, finetune(1), epochs=1))
    directory = small.context.directory
    second = directory / "finetune" / "checkpoints"
    for name in ("best", "last"):
        evaluated = Evaluate(checkpoint=name)(*small, outcomes)
        assert evaluated.metrics["checkpoint"] == str(second / f"{name}.ckpt")
        assert find_checkpoint(str(directory), tmp_path, name) == second / f"{name}.ckpt"
    assert weights_file(directory, field="init.from") == second / "best.ckpt"
    assert run_of_checkpoint(second / "best.ckpt") == directory
    assert run_of_checkpoint(directory / "checkpoints" / "best.ckpt") == directory
    loaded = pipeline.load(directory).network.state_dict()
    trained = weights(read(small, "best"))
    assert all(torch.equal(value, trained[key]) for key, value in loaded.items())


def test_members_of_an_ensemble_are_trained_twice(small_run: MakeRun) -> None:
    small = small_run()
    stages = {"train": train(1), "finetune": finetune(1)}
    small = small.replace(stages=stages)
    outcome = Ensemble(members=2, checkpoints=[])(*small, list(both(small, finetune(1), epochs=1)))
    assert [Path(path).parts[-3] for path in outcome.metrics["checkpoints"]] == ["finetune", "finetune"]
    assert "seed_1" in outcome.metrics["checkpoints"][1]


@pytest.mark.parametrize(
    ("remedy", "expected"),
    [
        ("optimizer.lr=0.0001", "stages.finetune.lr_factor=0.01"),
        ("stages.train.epochs=20", "stages.finetune.epochs=20"),
        ("regularization=none", "regularization=none"),
    ],
)
def test_remedies_change_the_second_training(remedy: str, expected: str) -> None:
    finding = Finding(
        **{field.name: "" for field in dataclasses.fields(Finding)} | {"remedy": (remedy,)}  # type: ignore[arg-type]
    )
    assert of_second_training(finding, {"lr": 0.001, "lr_factor": 0.1}).remedy == (expected,)


def test_a_rate_that_is_too_high_is_said_of_the_second_training(small_run: MakeRun) -> None:
    small = small_run("optimizer.lr=0.1", "schedule=constant")
    _, second = both(small, finetune(2, lr_factor=1000.0, break_factor=3.0), epochs=4)
    assert not second.passed
    keys = {override.partition("=")[0] for finding in second.findings for override in finding.remedy}
    assert "stages.finetune.lr_factor" in keys
    assert not keys & {"optimizer.lr", "init"}
    assert {finding.stage for finding in second.findings} == {"finetune"}


class Epochs(Writer):
    def __init__(self) -> None:
        super().__init__()
        self.steps: list[int] = []

    def log_scalars(self, values: dict[str, float], step: int) -> None:  # type: ignore[override]
        if any(name.startswith("val") or "val" in name for name in values):
            self.steps.append(step)

    def close(self, status: str, scores: Any) -> None:
        pass


def test_loggers_get_the_later_epochs(small_run: MakeRun) -> None:
    writer, small = Epochs(), small_run()
    log = MultiLogger({"epochs": writer}, LoggedRun("run", small.context.directory, {}))
    both(small.replace(log=log), finetune(2), epochs=2)
    assert writer.steps == [STEPS, 2 * STEPS, 3 * STEPS, 4 * STEPS]
    assert writer.state["epochs"] == 4


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"epochs": 0}, "epochs"),
        ({"lr_factor": 0}, "lr_factor"),
        ({"unfreeze": "output"}, "unfreeze"),
        ({"unfreeze": [1]}, "unfreeze"),
        ({"patience": 0}, "patience"),
        ({"monitor": "f1"}, "monitor"),
    ],
)
def test_wrong_options(options: dict[str, Any], field: str) -> None:
    with pytest.raises(UserError) as error:
        finetune(**options)
    assert error.value.field == field


@pytest.mark.parametrize(
    ("overrides", "field"),
    [
        (["stage=[train,finetune]", "stages.finetune.unfreeze=[nothing]", "model.frozen=[hidden]"], "unfreeze"),
        (["stage=[train,finetune]", "stages.finetune.unfreeze=[hidden]"], "unfreeze"),
        (["stage=[train,finetune]", "stages.finetune.unfreeze=[output]", "model.frozen=[hidden]"], "unfreeze"),
        (["stage=[train,finetune]", "stages.finetune.monitor=val_r2"], "monitor"),
        (["stage=[finetune]"], "epochs"),
        (["stage=[finetune,train]"], "epochs"),
    ],
)
def test_wrong_options_are_refused_before_any_training(overrides: list[str], field: str) -> None:
    with pytest.raises(UserError) as error:
        build_components(compose_config([*SMALL, *overrides]))
    assert error.value.field == f"stages.finetune.{field}"


def test_rates_that_do_not_follow_are_refused(small_run: MakeRun) -> None:
    small = small_run()

    def fixed(optimizer: Any) -> Any:
        for group in optimizer.param_groups:
            group["lr"] = 0.5
        return torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0)

    schedule = dataclasses.replace(small.components.schedule, scheduler=fixed, length_argument=None)
    with pytest.raises(UserError) as error:
        finetune().check_components(dataclasses.replace(small.components, schedule=schedule))
    assert error.value.field == "lr_factor"
    finetune().check_components(small.components)


def test_a_whole_run(tmp_path: Path) -> None:
    """A linear probe, then all layers: signals, charts of both trainings, and the same numbers when it is resumed."""
    command = [*SMALL, f"outputs={tmp_path}", "report=true", "stage=[sanity,train,finetune,evaluate]", "checks=off",
               'model.frozen=["!output"]', "stages.train.epochs=2", "stages.finetune.epochs=2"]  # fmt: skip
    result = pipeline.run(command)
    assert list(result.metrics) == ["sanity", "train", "finetune", "evaluate"]
    run = read_run(result.directory)
    assert len(run.signals["finetune"]["losses"]) == 2 * STEPS
    ids = [[chart.id for chart in stage_charts(run, name)] for name in ("train", "finetune")]
    assert {"loss", "accuracy"} <= set(ids[0])
    assert {"finetune-loss", "finetune-accuracy"} <= set(ids[1])
    assert not set(ids[0]) & set(ids[1])
    (result.directory / "signals.json").unlink()
    assert len(read_run(result.directory).signals["finetune"]["epochs"]["val_loss"]) == 2
    again = pipeline.run([*command, f"resume={result.directory}"])
    assert differences(again.metrics["finetune"]["history"], result.metrics["finetune"]["history"]) == []
    assert again.metrics["evaluate"]["test_accuracy"] == result.metrics["evaluate"]["test_accuracy"]
