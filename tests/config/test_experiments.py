"""Experiment files: `experiment=path/to/file.yaml`."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.config.compose import compose_config
from pipeline.config.experiments import register_experiment_file, to_experiment_yaml
from pipeline.config.options import CONF
from pipeline.errors import UserError
from pipeline.workflow.build import build_components

GROUPS = ["activation", "stage", "experiment", "optimizer"]


def write_experiment(path: Path, *overrides: str) -> Path:
    path.write_text(to_experiment_yaml(overrides, groups=GROUPS, header="what it is"))
    return path


def test_same_as_overrides(tmp_path: Path) -> None:
    words = ["activation=elu", "optimizer=adam", "optimizer.lr=3e-4", "seed=7", "name='a b'", "tags=[x,'y,z']",
             "+activation.inplace=true", "stage=[sanity,train]", "stages.train.patience=null"]  # fmt: skip
    path = write_experiment(tmp_path / "mine.yaml", *words)
    assert path.read_text().startswith("# @package _global_\n# what it is\n")
    assert compose_config([f"experiment={path}"]) == compose_config(words)


def test_command_line_wins(tmp_path: Path) -> None:
    path = write_experiment(tmp_path / "mine.yaml", "activation=elu", "optimizer.lr=0.5", "optimizer=adam")
    config = compose_config([f"experiment={path}", "activation=tanh", "optimizer.lr=0.25"])
    assert config.activation["_target_"] == "torch.nn.Tanh"
    assert config.optimizer["_target_"] == "torch.optim.Adam"
    assert config.optimizer.lr == 0.25


def test_relative_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is relative to the working directory, and the file is read again each time."""
    (tmp_path / "some" / "deep").mkdir(parents=True)
    write_experiment(tmp_path / "some" / "mine.yaml", "seed=5")
    monkeypatch.chdir(tmp_path / "some" / "deep")
    assert compose_config(["experiment=../mine.yaml"]).seed == 5
    write_experiment(tmp_path / "some" / "mine.yaml", "seed=6")
    assert compose_config(["experiment=../mine.yaml"]).seed == 6


def test_nested(tmp_path: Path) -> None:
    inner = write_experiment(tmp_path / "inner.yaml", "activation=elu", "seed=5")
    outer = write_experiment(tmp_path / "outer.yaml", f"experiment={inner}", "activation=tanh")
    config = compose_config([f"experiment={outer}"])
    assert (config.seed, config.activation["_target_"]) == (5, "torch.nn.Tanh")


def test_keys_of_unchosen_stage(tmp_path: Path) -> None:
    """An experiment may set keys of a stage that the command line does not choose."""
    path = write_experiment(tmp_path / "mine.yaml", "stages.train.epochs=3")
    components = build_components(compose_config([f"experiment={path}", "stage=sanity", "data=digits", "model=mlp"]))
    assert list(components.stages) == ["sanity"]
    assert list(components.config["stages"]) == ["sanity"]


def test_experiments_of_conf() -> None:
    for path in (CONF / "experiment").glob("*.yaml"):
        compose_config([f"experiment={path.stem}"])


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("mine.yaml", None),
        ("mine.yaml", "a: b: c"),
        ("mine.yaml", "- a"),
        ("mine.yaml", "7"),
        ("mine.yml", "seed: 5\n"),
    ],
)
def test_not_an_experiment_file(name: str, content: str | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(UserError) as error:
        register_experiment_file(str(tmp_path / name))
    assert error.value.field == "experiment"
    assert str(tmp_path / name) in error.value.message


def test_wrong_content(tmp_path: Path) -> None:
    """An option that does not exist, and a callback, which Hydra would call before anything is checked."""
    path = tmp_path / "mine.yaml"
    path.write_text("defaults:\n  - override /activation: rleu\n")
    with pytest.raises(UserError, match="rleu"):
        compose_config([f"experiment={path}"])
    path.write_text("hydra:\n  callbacks:\n    x:\n      _target_: os.system\n")
    with pytest.raises(UserError) as error:
        compose_config([f"experiment={path}"])
    assert error.value.field == "hydra.callbacks"
