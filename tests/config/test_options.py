"""Every option of every group in conf/: it says what it is, calls only what is allowed, composes, and trains."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from omegaconf import DictConfig, OmegaConf

from pipeline.config.compose import CONF, Composition, compose_config
from pipeline.config.instantiate import allowed_targets
from pipeline.errors import UserError
from pipeline.workflow.build import build_components
from tests.config.one_step import take_one_step

FILES = sorted(
    path for path in CONF.rglob("*.yaml") if path.name != "base.yaml" and "hydra" not in path.relative_to(CONF).parts
)
"""All files but those that Hydra itself calls, which `pipeline.config.check_overrides` guards."""
OPTIONS: dict[str, list[str]] = {
    group: [path.stem for path in files]
    for group, found in itertools.groupby(
        (path for path in FILES if path.parent != CONF and path.parent.name != "experiment"),
        lambda path: path.parent.relative_to(CONF).as_posix(),
    )
    for files in [list(found)]
}
ROWS = range(max(map(len, OPTIONS.values())))
"""Enough compositions for every option to be in one: the i-th takes the i-th option of each group, round and round."""
IN_LISTS = {"stage": "stages", "logger": "logger", "search": "search.rounds"}
"""Groups of which several options may be chosen, and the node in which each has its own."""
NEEDS_MORE = {"model": {"custom", "timm", "torchvision"}, "loss": {"custom", "bce", "regression"}, "trainer": {"gpu"},
              "augmentation": {"custom"}}  # fmt: skip
"""Options that cannot be built with digits on this machine as they are; tests of their own build them."""


def row(i: int) -> dict[str, str]:
    return {group: options[i % len(options)] for group, options in OPTIONS.items()}


def compose_row(i: int) -> DictConfig:
    chosen = row(i)
    if chosen["stage"] != "train":  # some stages need a training before them
        chosen["stage"] = f"[train,{chosen['stage']}]"
    return compose_config([f"{group}={option}" for group, option in chosen.items()])


def targets(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if "_target_" in node:
            yield node["_target_"]
        for inner in node.values():
            yield from targets(inner)
    elif isinstance(node, list):
        for inner in node:
            yield from targets(inner)


def test_files() -> None:
    """The first line of a file describes the option in a sentence, and the file calls only what is allowed."""
    for path in FILES:
        first = next(line for line in path.read_text().splitlines() if not line.startswith("# @package"))
        assert first.startswith("# "), path
        assert len(first) > 4, path
        assert set(targets(yaml.safe_load(path.read_text()))) <= allowed_targets() | {"???"}, path


def values_are_composed(group: str, option: str, config: DictConfig) -> bool:
    """Return whether every value of the option's file is in the configuration."""
    written = yaml.safe_load((CONF / group / f"{option}.yaml").read_text())
    node = (
        OmegaConf.select(config, IN_LISTS[group]).get(option, OmegaConf.create())
        if group in IN_LISTS
        else config[group]
    )
    plain: Any = OmegaConf.to_container(node, resolve=False)
    return all(plain[key] == value for key, value in written.items() if key != "defaults" and "${" not in str(value))


@pytest.mark.parametrize("i", ROWS)
def test_row(i: int, digits: DictConfig) -> None:
    """Each option is in one row at least, and trains together with whatever the others are."""
    config = compose_row(i)
    for group, option in row(i).items():
        assert values_are_composed(group, option, config), (group, option)
    for group in ("data", *(g for g, options in NEEDS_MORE.items() if row(i)[g] in options)):
        config[group] = digits[group]
    config.model.width = 4
    components = build_components(config)
    assert row(i)["stage"] in components.stages
    take_one_step(components)


def test_default_data(composition: Composition) -> None:
    config = copy.deepcopy(composition.config)
    config.model.width, config.data.limit = 4, 200
    components = build_components(config)
    assert components.data.name == "fashion_mnist_5k"
    assert list(components.stages) == ["sanity", "overfit", "train", "evaluate"]
    take_one_step(components)


def test_gpu(digits: DictConfig) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is one")
    config = copy.deepcopy(digits)
    config.trainer = OmegaConf.load(CONF / "trainer" / "gpu.yaml")
    with pytest.raises(UserError) as error:
        build_components(config)
    assert error.value.field == "trainer.accelerator"
    assert "trainer=auto" in error.value.message


def test_every_option_is_in_a_row() -> None:
    in_rows = {(group, option) for i in ROWS for group, option in row(i).items()}
    assert in_rows == {(group, option) for group, options in OPTIONS.items() for option in options}
    assert {Path(path).parent.name for path in FILES if path.parent != CONF} == {*OPTIONS, "experiment"}
