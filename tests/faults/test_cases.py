"""The cases are well-formed, their options and keys exist, and one fault and its healthy twin run from end to end."""

from __future__ import annotations

import functools
import importlib
import inspect
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from omegaconf import OmegaConf
from PIL import Image
from torch import nn

from pipeline.config.check_overrides import NODES_WITH_EXTRA_ARGS
from pipeline.config.compose import compose_config
from pipeline.config.overrides import parse_overrides
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
"""Checks that people refer to, so that they must not be renamed."""
KINDS = {
    "unregistered_parameters", "optimizer_parameters", "gradients_not_cleared",
    "gradients_cleared_early", "random_evaluation", "wrong_mode", "loss_ignores_pairs", "loss_mixes_examples",
    "frozen_batchnorm", "schedule_length", "rate_vanishes", "rate_falls_early", "channel_order", "scrambled_pixels",
    "near_duplicates", "shared_groups", "transparent_images", "crop_loses_content", "augmentation_changes_class",
    "test_below_validation",
}  # fmt: skip
"""Checks of faults of which there must be two that nobody looked at while the rules were written."""
CONF = HERE.parents[1] / "conf"
CHECKS = NAMED | KINDS | set(yaml.safe_load((CONF / "checks" / "default.yaml").read_text())["rules"])
CLEARLY_WORSE = 0.95
"""Share of its twin's mean score that no harmful fault reaches."""
MODULES = sorted({case.module for case in CASES.values() if case.module})
LOSSES = sorted({case.loss for case in CASES.values() if case.loss})
LOSSES_OF_TWO = {case.loss for case in CASES.values() if case.data and case.data["of"] == "fashion_pair"}
RECIPES = {json.dumps(case.data, sort_keys=True): case.data for case in CASES.values() if case.data is not None}


def import_own(name: str) -> Any:
    """Return the module or loss `file.Name` of networks/."""
    file, name = name.split(".")
    return getattr(importlib.import_module(f"tests.faults.networks.{file}"), name)


def test_benchmark_is_wide() -> None:
    """There are many faults and healthy cases, and a healthy case of every option of these groups."""
    assert len(FAULTS) >= 60
    assert len(HEALTHY) >= 30
    overrides = {override for case in HEALTHY.values() for override in case.overrides}
    options = {
        group: {file.stem for file in (CONF / group).glob("*.yaml")}
        for group in ("activation", "optimizer", "schedule", "preprocessing", "batchnorm")
    }
    defaults = {"relu", "momentum", "one_cycle", "channel_mean", "before_activation"}
    for group, names in options.items():
        assert not [name for name in names - defaults if f"{group}={name}" not in overrides], group


def test_unseen_cases_are_wide() -> None:
    """There are many of them, and two faults or more of each kind; the reports that were looked at are a set too."""
    new = [case for case in CASES.values() if case.set in ("new", "second")]
    assert {case.set for case in new} == {"new", "second"}
    assert sum(not case.healthy for case in new) >= 45
    assert sum(case.healthy for case in new) >= 20
    expected = [check for case in new for check in case.expect]
    assert {check for check in KINDS if expected.count(check) < 2} == set()
    assert all(case.seen for case in CASES.values() if case.set == "world")


def test_faults_are_well_formed() -> None:
    """A fault expects checks that exist, and differs from its twin."""
    for name, case in FAULTS.items():
        assert case.expect <= CHECKS | {CONFIGURATION_ERROR}, name
        assert case.also_right <= CHECKS, name
        assert not case.expect & case.also_right, name
        twin = HEALTHY[str(case.twin)]
        fields, fields_of_twin = ((c.overrides, c.module, c.loss, c.data) for c in (case, twin))
        assert fields != fields_of_twin, name
        assert case.seeds >= 2, name


def test_healthy_cases_are_well_formed() -> None:
    """A healthy case has a floor well above chance, and no twin."""
    for name, case in HEALTHY.items():
        assert 0.6 <= case.floor < 1, name
        assert not case.twin, name
        assert not case.also_right, name


def test_modules_run() -> None:
    """Each network has a docstring, can be built, and has a finite output for each image."""
    available = {"input_shape": (1, 28, 28), "classes": 10}
    for name in MODULES:
        factory = import_own(name)
        assert inspect.getdoc(factory), name
        torch.manual_seed(0)
        with torch.no_grad():
            arguments = {key: available[key] for key in inspect.signature(factory).parameters if key in available}
            network = factory(**arguments)
            assert isinstance(network, nn.Module), name
            output = network(torch.randn(4, 1, 28, 28))
        assert len(output) == 4, name
        assert output.isfinite().all(), name


@pytest.mark.filterwarnings("ignore:Using a target size")  # which is the mistake of one of them
def test_losses_are_one_number() -> None:
    for name in LOSSES:
        classes = 2 if name in LOSSES_OF_TWO else 6
        logits = torch.randn((6, classes), generator=torch.Generator().manual_seed(0)).requires_grad_()
        value = import_own(name)(logits, torch.arange(6) % classes)
        value.backward()
        assert value.shape == (), name
        assert value.isfinite(), name


@pytest.mark.slow
def test_data_are_the_same_each_time() -> None:
    """Each recipe builds the same arrays or files again, with labels for all images of a split."""
    for key, recipe in RECIPES.items():
        one, two = (datasets.build(recipe) for _ in range(2))
        assert one.keys() == two.keys(), key
        assert all(one[name].tobytes() == two[name].tobytes() for name in one), key
        if datasets.is_folder(recipe):
            continue
        assert {"x_train", "y_train"} <= one.keys(), key
        for split in ("train", "val", "test"):
            if f"x_{split}" in one:
                assert len(one[f"x_{split}"]) == len(one[f"y_{split}"]) > 0, key


def test_data_are_written_once(tmp_path: Path) -> None:
    """Arrays become a .npz file and pictures a folder of a class each; the command names the right option."""
    folder = datasets.write({"of": "icons", "how": "palette", "number": 6}, tmp_path)
    assert sorted(path.name for path in folder.iterdir()) == ["block", "cone", "disc"]
    with Image.open(folder / "disc" / "0000.png") as image:
        assert image.info["transparency"] == 0
    arrays = datasets.write({"of": "crossings"}, tmp_path)
    written = arrays.stat().st_mtime_ns
    assert datasets.write({"of": "crossings"}, tmp_path).stat().st_mtime_ns == written
    case = Case("any", "f", data={})
    assert [case.command(0, path)[0] for path in (folder, arrays)] == ["data=image_folder", "data=npz"]


def command_of(case: Case) -> list[str]:
    is_folder = case.data is not None and datasets.is_folder(case.data)
    return case.command(1, Path("some_folder" if is_folder else "some.npz"))


@functools.cache
def compose_data(data: str) -> dict[str, Any]:
    config = OmegaConf.to_container(compose_config([f"data={data}"]), resolve=False)
    assert isinstance(config, dict)
    return {str(key): value for key, value in config.items()}


@functools.cache
def load_option(group: str, name: str) -> dict[str, Any] | None:
    """Return the keys of an option of conf/, or None where there is no such option."""
    file = CONF / group / f"{name}.yaml"
    return yaml.safe_load(file.read_text()) if file.exists() else None


def has_key(config: dict[str, Any], key: str) -> bool:
    node: Any = config
    for name in key.split("."):
        if not isinstance(node, dict) or name not in node:
            return False
        node = node[name]
    return True


def test_options_and_keys_exist() -> None:
    """Each override names an option in conf/, or a key of the options that are chosen.

    The options are put into one configuration per data set, since composing each command takes half a second.
    """
    offenders = []
    for name, case in CASES.items():
        overrides = parse_overrides(command_of(case))
        chosen = {o.key_or_group: o.value() for o in overrides if (CONF / o.key_or_group).is_dir()}
        lists = {group: value for group, value in chosen.items() if isinstance(value, list)}
        offenders += [
            f"{name}: {g}={v}" for g, values in lists.items() for v in values if load_option(g, str(v)) is None
        ]
        groups = {group: str(value) for group, value in chosen.items() if group not in lists}
        nodes = {group: load_option(group, value) for group, value in groups.items() if group != "data"}
        offenders += [f"{name}: {group}={groups[group]}" for group, node in nodes.items() if node is None]
        config = compose_data(groups.get("data", "digits")) | nodes
        for override in overrides:
            key = override.key_or_group
            adds_argument = override.is_add() and key.rpartition(".")[0] in NODES_WITH_EXTRA_ARGS
            if key not in chosen and not adds_argument and not has_key(config, key):
                offenders.append(f"{name}: {override.input_line}")
    assert offenders == []


def test_commands_compose(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first command of each family, whole; `make faults` composes all of them."""
    first = {case.family: case for case in reversed(CASES.values())}
    assert len(first) >= 10
    for case in first.values():
        monkeypatch.setenv("PIPELINE_ALLOW", allowed_names([case]))
        config = compose_config(command_of(case))
        assert config.seed == 1, case.name
        if case.module:
            assert config.model["_target_"] == dotted(case.module), case.name
        if case.data is not None:
            assert config.data.path.startswith("some"), case.name


def test_recorded_scores_show_the_faults() -> None:
    scores = yaml.safe_load(benchmark.SCORES.read_text())
    assert scores.keys() == CASES.keys()

    def mean(name: str) -> float:
        return sum(score or 0.0 for score in scores[name]) / len(scores[name])

    for name, case in HEALTHY.items():
        assert None not in scores[name], name
        assert min(scores[name]) >= case.floor, name
    harmful = [name for name, case in FAULTS.items() if not case.harmless and case.must_detect == "always"]
    assert [name for name in harmful if mean(name) > CLEARLY_WORSE * mean(str(FAULTS[name].twin))] == []


def records(case: Case, *, findings: tuple[str, ...] = (), score: float | None = 0.9) -> Iterator[Record]:
    for seed in range(case.seeds):
        yield Record(case.name, seed, "passed", tuple((name, "warning", "train") for name in findings), score, 1.0)


def test_scoring() -> None:
    healthy = Case("sound", "f", floor=0.8)
    fault = Case("broken", "f", expect=frozenset({"dead_units"}), twin="sound")
    sometimes = Case("at_times", "f", expect=frozenset({"dead_units"}), twin="sound", must_detect="if_shown", seeds=2)
    cases = {case.name: case for case in (healthy, fault, sometimes)}
    good = [
        *records(healthy),
        *records(fault, findings=("dead_units", "underfitting"), score=None),
        Record("at_times", 0, "passed", (), 0.89, 1.0),  # scores like its twin: nothing to find
        Record("at_times", 1, "passed", (), 0.5, 1.0),  # shows, and nothing was found
    ]
    sound, broken, at_times = rows_of(cases, good)
    assert sound.ok
    assert (broken.detected, broken.cause_first, broken.ok) == (3, 3, True)
    assert broken.other_checks == {"underfitting": 3}
    assert [run.seed for run in at_times.counted] == [1]
    totals = totals_of([sound, broken, at_times], 1.0)
    assert (totals.faults, totals.detected, totals.false_alarms) == (4, 0.75, 0.0)
    assert [target.partition(" ")[0] for target in totals.missed] == ["detected", "cause"]
    wrong = [*records(healthy, findings=("label_noise",), score=0.7), *records(fault, findings=("overfitting",))]
    bad = rows_of(cases, wrong)
    assert (bad[1].detected, bad[1].cause_first) == (3, 0)
    assert [target.partition(" ")[0] for target in totals_of(bad, 1.0).missed] == ["cause", "false", "3"]


def test_fault_and_twin_from_end_to_end(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fault = FAULTS["zeros_mlp"]
    pair = [fault, HEALTHY[str(fault.twin)]]
    monkeypatch.setenv("PIPELINE_ALLOW", allowed_names(pair))
    runs = [run_case(case, 0, None, ("stages.train.epochs=3",)) for case in pair]
    assert runs[0].ended == "failed"
    assert runs[0].first_check in fault.expect
    assert runs[1].ended == "passed"
    assert runs[1].score is not None


def test_list_of_cases(capsys: pytest.CaptureFixture[str]) -> None:
    assert benchmark.main(["--list", "--only", "zeros_mlp"]) == 0
    printed = capsys.readouterr().out
    assert "zeros_mlp12" in printed
    assert "mlp_plain_digits" in printed  # the twin comes along
    assert benchmark.main(["--list", "--only", "no_such_case"]) == 2
