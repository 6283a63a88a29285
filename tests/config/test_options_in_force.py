"""The options and values of a configuration, as a user would type them."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.config.compose import compose_config
from pipeline.config.options import CONF
from pipeline.config.options_in_force import GROUPS, options_in_force
from pipeline.config.to_dict import to_dict


def in_force(*overrides: str) -> dict[str, Any]:
    return options_in_force(to_dict(compose_config(overrides)))


@pytest.mark.slow
@pytest.mark.parametrize("group", GROUPS)
def test_every_option_is_recognized(group: str) -> None:
    for path in (CONF / group).glob("*.yaml"):
        assert in_force(f"{group}={path.stem}")[group] == path.stem


def test_values_have_their_keys() -> None:
    options = in_force("optimizer.lr=0.5", "regularization.dropout=0.25", "stages.train.epochs=7", "data.batch_size=8")
    assert options["optimizer.lr"] == 0.5
    assert options["regularization.dropout"] == 0.25
    assert (options["stages.train.epochs"], options["data.batch_size"]) == (7, 8)
    assert options["augmentation"] == "flip"  # that of the data set
    assert not [key for key in options if "._" in key]


def test_a_changed_option_is_not_in_force() -> None:
    """To choose it again would set the key back."""
    options = in_force("init=he", "init.output_scale=null", "schedule.scheduler.pct_start=0.5")
    assert not {"init", "schedule"} & options.keys()
    assert options["init.output_scale"] is None
