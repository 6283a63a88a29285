"""Recipes outside the menu: `experiment=path/to/file.yaml`."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.config.compose import compose_config
from pipeline.config.experiments import to_experiment_yaml
from pipeline.errors import UserError
from pipeline.workflow.build import build_components

GROUPS = ["activation", "stage", "experiment", "optimizer"]


def as_file(path: Path, *overrides: str) -> Path:
    path.write_text(to_experiment_yaml(overrides, groups=GROUPS, header="what it is"))
    return path


def test_a_recipe_does_what_the_overrides_do(tmp_path: Path) -> None:
    words = ["activation=elu", "optimizer=adam", "optimizer.lr=3e-4", "seed=7", "name='a b'", "tags=[x,'y,z']",
             "+activation.inplace=true", "stage=[sanity,train]", "stages.train.patience=null"]  # fmt: skip
    path = as_file(tmp_path / "mine.yaml", *words)
    assert path.read_text().startswith("# @package _global_\n# what it is\n")
    assert compose_config([f"experiment={path}"]) == compose_config(words)


def test_the_command_has_the_last_word(tmp_path: Path) -> None:
    path = as_file(tmp_path / "mine.yaml", "activation=elu", "optimizer.lr=0.5", "optimizer=adam")
    config = compose_config([f"experiment={path}", "activation=tanh", "optimizer.lr=0.25"])
    assert config.activation["_target_"] == "torch.nn.Tanh"
    assert config.optimizer["_target_"] == "torch.optim.Adam"
    assert config.optimizer.lr == 0.25


def test_a_path_is_taken_from_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "some" / "deep").mkdir(parents=True)
    as_file(tmp_path / "some" / "mine.yaml", "seed=5")
    monkeypatch.chdir(tmp_path / "some" / "deep")
    assert compose_config(["experiment=../mine.yaml"]).seed == 5
    monkeypatch.chdir(tmp_path / "some")
    assert compose_config(["experiment=mine.yaml"]).seed == 5
    as_file(tmp_path / "some" / "mine.yaml", "seed=6")
    assert compose_config(["experiment=mine.yaml"]).seed == 6


def test_a_recipe_of_a_recipe(tmp_path: Path) -> None:
    inner = as_file(tmp_path / "inner.yaml", "activation=elu", "seed=5")
    outer = as_file(tmp_path / "outer.yaml", f"experiment={inner}", "activation=tanh")
    config = compose_config([f"experiment={outer}"])
    assert (config.seed, config.activation["_target_"]) == (5, "torch.nn.Tanh")


def test_keys_of_a_stage_that_is_left_out_do_no_harm(tmp_path: Path) -> None:
    path = as_file(tmp_path / "mine.yaml", "stages.train.epochs=3")
    parts = build_components(compose_config([f"experiment={path}", "stage=sanity", "data=digits", "model=mlp"]))
    assert list(parts.stages) == ["sanity"]
    assert list(parts.config["stages"]) == ["sanity"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot read the file"),
        ("a: b: c", "no YAML file"),
        ("- a", "no recipe"),
        ("7", "no recipe"),
        ("defaults:\n  - override /activation: rleu\n", "rleu"),
        ("hydra:\n  callbacks:\n    x:\n      _target_: os.system\n", "not in a configuration"),
    ],
)
def test_what_is_no_recipe_is_refused(tmp_path: Path, content: str | None, said: str) -> None:
    path = tmp_path / "mine.yaml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError, match=said):
        compose_config([f"experiment={path}"])


def test_another_kind_of_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.yml").write_text("seed: 5\n")
    with pytest.raises(UserError, match=r"a \.yaml file"):
        compose_config([f"experiment={tmp_path / 'mine.yml'}"])
