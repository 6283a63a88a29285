"""The cases are well-formed, compose, and one fault beside its healthy twin runs from end to end."""

from __future__ import annotations

import importlib
import inspect
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml
from torch import nn

from pipeline.config.compose import compose_config
from tests.faults import __main__ as benchmark
from tests.faults import datasets
from tests.faults.case import CONFIGURATION_ERROR, HERE, Case, allowed_names, dotted, read_cases
from tests.faults.run import Record, run_case
from tests.faults.score import rows_of, totals_of

CASES = read_cases()
FAULTS = {name: case for name, case in CASES.items() if not case.healthy}
HEALTHY = {name: case for name, case in CASES.items() if case.healthy}
NAMED = {
    "initial_loss", "regularization_raises_loss", "symmetric_units", "vanishing_activations", "exploding_activations",
    "saturated_units", "dead_units", "vanishing_gradients", "exploding_gradients", "unreachable_parameters",
    "input_ignored", "batch_leak", "output_activation", "wrong_output_count", "missing_nonlinearity",
    "loss_reduction", "inputs_not_centred", "inputs_not_scaled", "constant_features", "class_imbalance",
    "missing_class", "duplicate_examples", "label_noise", "split_shift", "cannot_overfit", "rate_too_low",
    "rate_too_high", "loss_exploding", "loss_plateau", "late_start", "oscillating_loss", "nonfinite", "undertrained",
    "overtrained", "update_ratio_low", "update_ratio_high", "frozen_weights", "overfitting", "underfitting",
    "over_regularized", "train_eval_mismatch", "small_batch_batchnorm", "shared_weights",
    "wrong_direction", "loss_disagrees",
}  # fmt: skip
"""The names that people refer to. Those on the menu join them."""
MENU = set(yaml.safe_load((HERE.parents[1] / "conf" / "checks" / "default.yaml").read_text())["rules"])
CLEARLY_WORSE = 0.95
"""Share of its twin's score that no harmful fault reaches on average."""
MODULES = sorted({case.module for case in CASES.values() if case.module})
LOSSES = sorted({case.loss for case in CASES.values() if case.loss})
RECIPES = {json.dumps(case.data, sort_keys=True): case.data for case in CASES.values() if case.data is not None}


def found(own: str) -> object:
    file, name = own.split(".")
    return getattr(importlib.import_module(f"tests.faults.networks.{file}"), name)


def test_benchmark_is_wide() -> None:
    assert len(FAULTS) >= 60
    assert len(HEALTHY) >= 30
    overrides = {word for case in HEALTHY.values() for word in case.overrides}
    options = {
        group: {file.stem for file in (HERE.parents[1] / "conf" / group).glob("*.yaml")}
        for group in ("activation", "optimizer", "schedule", "preprocessing", "batchnorm")
    }
    defaults = {"relu", "momentum", "one_cycle", "channel_mean", "before_activation"}
    for group, names in options.items():
        assert not [name for name in names - defaults if f"{group}={name}" not in overrides], group


@pytest.mark.parametrize("case", FAULTS.values(), ids=lambda case: case.name)
def test_a_fault_expects_known_checks_and_differs_from_its_twin(case: Case) -> None:
    assert case.expect <= NAMED | MENU | {CONFIGURATION_ERROR}
    assert case.also_right <= NAMED | MENU
    assert not case.expect & case.also_right
    twin = HEALTHY[str(case.twin)]
    assert (case.overrides, case.module, case.loss, case.data) != (twin.overrides, twin.module, twin.loss, twin.data)
    assert case.seeds >= 2


@pytest.mark.parametrize("case", HEALTHY.values(), ids=lambda case: case.name)
def test_a_healthy_case_has_a_floor_well_above_chance(case: Case) -> None:
    assert 0.6 <= case.floor < 1
    assert not case.twin
    assert not case.also_right


@pytest.mark.parametrize("own", MODULES)
def test_a_module_is_importable_and_runs(own: str) -> None:
    factory = found(own)
    assert callable(factory)
    assert inspect.getdoc(factory)
    offered = {"input_shape": (1, 28, 28), "classes": 10}
    torch.manual_seed(0)
    with torch.no_grad():
        network = factory(**{key: offered[key] for key in inspect.signature(factory).parameters if key in offered})
        assert isinstance(network, nn.Module)
        output = network(torch.randn(4, 1, 28, 28))
    assert len(output) == 4
    assert output.isfinite().all()


@pytest.mark.parametrize("own", LOSSES)
def test_a_loss_is_one_number(own: str) -> None:
    function = found(own)
    assert callable(function)
    logits = torch.randn((6, 5), generator=torch.Generator().manual_seed(0)).requires_grad_()
    value = function(logits, torch.arange(6) % 5)
    value.backward()
    assert value.shape == ()
    assert value.isfinite()


@pytest.mark.parametrize("key", RECIPES)
def test_a_recipe_writes_the_same_arrays_each_time(key: str, tmp_path: Path) -> None:
    recipe = RECIPES[key]
    arguments = {name: value for name, value in recipe.items() if name != "of"}
    one, two = (datasets.BUILDERS[recipe["of"]](**arguments) for _ in range(2))
    assert one.keys() == two.keys()
    assert all((one[name] == two[name]).all() for name in one)
    assert {"x_train", "y_train"} <= one.keys()
    for part in ("train", "val", "test"):
        if f"x_{part}" in one:
            assert len(one[f"x_{part}"]) == len(one[f"y_{part}"]) > 0


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES.values(), ids=lambda case: case.name)
def test_a_command_composes(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIPELINE_ALLOW", allowed_names([case]))
    config = compose_config(case.command(1, Path("some.npz")))
    assert config.seed == 1
    if case.module:
        assert config.model["_target_"] == dotted(case.module)
    if case.data is not None:
        assert config.data.path == "some.npz"


@pytest.mark.slow
def test_the_recorded_scores_show_the_faults() -> None:
    scores = yaml.safe_load(benchmark.SCORES.read_text())
    assert scores.keys() == CASES.keys()

    def mean(name: str) -> float:
        return sum(score or 0.0 for score in scores[name]) / len(scores[name])

    for name, case in HEALTHY.items():
        assert None not in scores[name], name
        assert min(scores[name]) >= case.floor, name
    harmful = [name for name, case in FAULTS.items() if not case.harmless and case.must_detect == "always"]
    assert [name for name in harmful if mean(name) > CLEARLY_WORSE * mean(str(FAULTS[name].twin))] == []


def records(case: Case, *, told: tuple[str, ...] = (), score: float | None = 0.9) -> Iterator[Record]:
    for seed in range(case.seeds):
        yield Record(case.name, seed, "passed", tuple((name, "warning", "train") for name in told), score, 1.0)


def test_scoring() -> None:
    healthy = Case("sound", "f", floor=0.8)
    fault = Case("broken", "f", expect=frozenset({"dead_units"}), twin="sound")
    sometimes = Case("at_times", "f", expect=frozenset({"dead_units"}), twin="sound", must_detect="if_shown", seeds=2)
    cases = {case.name: case for case in (healthy, fault, sometimes)}
    good = [
        *records(healthy),
        *records(fault, told=("dead_units", "underfitting"), score=None),
        Record("at_times", 0, "passed", (), 0.89, 1.0),  # scores like its twin: nothing to tell
        Record("at_times", 1, "passed", (), 0.5, 1.0),  # shows, and was told nothing
    ]
    sound, broken, at_times = rows_of(cases, good)
    assert sound.ok
    assert (broken.detected, broken.cause_first, broken.ok) == (3, 3, True)
    assert broken.others == {"underfitting": 3}
    assert [run.seed for run in at_times.counted] == [1]
    totals = totals_of([sound, broken, at_times], 1.0)
    assert (totals.faults, totals.detected, totals.false_alarms) == (4, 0.75, 0.0)
    assert [words.partition(" ")[0] for words in totals.missed] == ["detected", "cause"]
    bad = rows_of(cases, [*records(healthy, told=("label_noise",), score=0.7), *records(fault, told=("overfitting",))])
    assert (bad[1].detected, bad[1].cause_first) == (3, 0)
    assert [words.partition(" ")[0] for words in totals_of(bad, 1.0).missed] == ["cause", "false", "3"]


def test_a_fault_and_its_twin_run_from_end_to_end(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fault = FAULTS["zeros_mlp"]
    pair = [fault, HEALTHY[str(fault.twin)]]
    monkeypatch.setenv("PIPELINE_ALLOW", allowed_names(pair))
    told = [run_case(case, 0, None, ("stages.train.epochs=3",)) for case in pair]
    assert told[0].ended == "failed"
    assert told[0].first in fault.expect
    assert told[1].ended == "passed"
    assert told[1].score is not None


def test_the_program_names_cases_without_running(capsys: pytest.CaptureFixture[str]) -> None:
    assert benchmark.main(["--list", "--only", "zeros_mlp"]) == 0
    shown = capsys.readouterr().out
    assert "zeros_mlp12" in shown
    assert "mlp_plain_digits" in shown  # the twin comes along
    assert benchmark.main(["--list", "--only", "no_such_case"]) == 2
