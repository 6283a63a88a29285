"""Keys and options that were renamed: one message with the new name, wherever the old one is used."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from pipeline.config.check_overrides import has_key
from pipeline.config.compose import Composition, compose_config
from pipeline.config.instantiate import instantiate
from pipeline.config.options import CONF, groups, keys
from pipeline.config.retired import (
    RENAMED_KEYS,
    RENAMED_OPTIONS,
    refuse_renamed_key,
    refuse_renamed_keys,
    refuse_renamed_option,
)
from pipeline.errors import UserError

RENAMED = [(node, old, new) for node, names in RENAMED_KEYS.items() for old, new in names.items()]


def test_new_names_exist(composition: Composition) -> None:
    """Each new name exists in some option, and no old name does."""
    in_options = {
        f"{option.package or group.name}.{name}"
        for group in groups().values()
        for option in group.options
        for name in keys(option.path)
    } | set(keys(CONF / "config.yaml"))
    in_options |= {"init.data_dependent_step"}
    for node, old, new in RENAMED:
        assert f"{node}.{new}" in in_options, f"{node}.{new}"
        assert f"{node}.{old}" not in in_options, f"{node}.{old}"
        assert not has_key(composition.config, f"{node}.{old}")
    for group, names in RENAMED_OPTIONS.items():
        available = [option.name for option in groups()[group].options]
        assert all(new in available and old not in available for old, new in names.items())


def test_every_key() -> None:
    for node, old, new in RENAMED:
        for key in (f"{node}.{old}", f"{node}.{old}.inner"):
            with pytest.raises(UserError) as error:
                refuse_renamed_key(key)
            assert error.value.field == f"{node}.{old}"
            assert f"{node}.{new}" in error.value.message
    refuse_renamed_key("optimizer.lr")
    refuse_renamed_key("checks.rules.dead_units.warning")
    refuse_renamed_option("init", "he")


@pytest.mark.parametrize("sign", ["", "+", "++"])
def test_typed_key(sign: str, refused: Callable[[str], UserError]) -> None:
    error = refused(f"{sign}signals.every=10")
    assert error.field == "signals.every"
    assert "signals.every_n_steps" in error.message
    assert refused(f"{sign}init.after._target_=x").field == "init.after"


def test_typed_option(refused: Callable[[str], UserError]) -> None:
    error = refused("init=own")
    assert error.field == "init"
    assert "init=model_default" in error.message


@pytest.mark.parametrize(
    ("content", "field", "word"),
    [
        ("signals:\n  most: 9\n", "signals.most", "signals.max_samples"),
        ("search:\n  keep: 0.5\n", "search.keep", "search.top_fraction"),
        ("checks:\n  rules:\n    dead_units:\n      share: 0.4\n", "checks.rules.dead_units.share", "warning"),
        ("defaults:\n  - override /init: own\n", "init", "model_default"),
    ],
)
def test_experiment_file(content: str, field: str, word: str, tmp_path: Path) -> None:
    (tmp_path / "old.yaml").write_text(content)
    with pytest.raises(UserError) as error:
        compose_config([f"experiment={tmp_path / 'old.yaml'}"])
    assert error.value.field == field
    assert word in error.value.message


def test_recorded_config() -> None:
    recorded = {"checks": {"rules": {"dead_units": {"share": 0.4}}}, "search": None}
    for config in (recorded, OmegaConf.create(recorded)):
        with pytest.raises(UserError) as error:
            refuse_renamed_keys(config)
        assert error.value.field == "checks.rules.dead_units.share"
    refuse_renamed_keys({"checks": {"rules": {"dead_units": {"warning": 0.4}}}})


def test_node_of_an_older_run() -> None:
    """An argument that was renamed is named when the object is built."""
    node = {"_target_": "pipeline.checks.rules.input_ignored.InputIgnored", "margin": 0.1}
    with pytest.raises(UserError) as error:
        instantiate(node, "checks.rules.input_ignored")
    assert error.value.field == "checks.rules.input_ignored.margin"
    assert "min_margin" in error.value.message
