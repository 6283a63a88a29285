"""Options that a network does not take are refused from the signature of its target, before anything is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline.config.compose import compose_config
from pipeline.config.override_keys import override_key
from pipeline.config.overrides import parse_overrides
from pipeline.config.to_dict import to_dict
from pipeline.config.unused_options import BLOCK_KEYS, refuse_unused_options, takes_block, unused_keys
from pipeline.errors import UserError
from pipeline.search.space.space import parse_space
from pipeline.search.space.trial_configs import TrialConfigs

OWN = ("data=digits", "model=custom", f"model._target_={__name__}.plain")


def plain(classes: int) -> None:
    """Stands for a user's factory."""


def open_arguments(**kwargs: Any) -> None:
    """Takes anything, and gets no block."""


def from_block(block: Any = None) -> None:
    """Gets the block."""


@pytest.fixture(autouse=True)
def _allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(
        "PIPELINE_ALLOW", ",".join(f"{__name__}.{f.__name__}" for f in (plain, open_arguments, from_block))
    )


def refused(overrides: tuple[str, ...]) -> str | None:
    """Return the field of the refusal, or None."""
    config = to_dict(compose_config(overrides))
    try:
        refuse_unused_options(config, [override_key(override) for override in overrides])
    except UserError as error:
        return error.field
    return None


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (f"{__name__}.plain", False),
        (f"{__name__}.open_arguments", False),
        (f"{__name__}.from_block", True),
        ("pipeline.model.mlp.MLP", True),
        ("pipeline.model.torchvision_model.torchvision_model", False),
    ],
)
def test_which_networks_take_the_block(target: str, expected: bool) -> None:
    assert takes_block({"_target_": target}) is expected


@pytest.mark.parametrize(
    ("overrides", "field"),
    [
        ((), None),
        (("activation=relu",), "activation"),
        (("activation=leaky_relu", "activation.negative_slope=0.2"), "activation"),
        (("batchnorm.momentum=0.2",), "batchnorm"),
        (("batchnorm.recompute=true",), None),
        (("regularization=l2_dropout",), "regularization.dropout"),
        (("regularization=none",), None),
        (("regularization.l2=0.1",), None),
        (("regularization.dropout=0",), None),
        (("init=orthogonal", "activation=tanh"), None),  # whose gain follows from the activation
        (("init=he", "activation=tanh"), "activation"),
    ],
)
def test_own_network(overrides: tuple[str, ...], field: str | None) -> None:
    assert refused((*OWN, *overrides)) == field


def test_networks_that_take_options_or_bring_their_own() -> None:
    assert refused(("model=mlp", "activation=tanh", "batchnorm=none", "regularization=dropout")) is None
    assert refused(("model=torchvision", "batchnorm=none")) == "batchnorm"


@pytest.mark.parametrize(
    ("option", "field"), [("activation: tanh", "activation"), ("regularization: dropout", "regularization.dropout")]
)
def test_experiment_files(option: str, field: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(f"# @package _global_\ndefaults:\n  - override /{option}\n")
    assert refused((*OWN, f"experiment={path}")) == field


def test_what_is_not_used() -> None:
    assert unused_keys(to_dict(compose_config(OWN))) == list(BLOCK_KEYS)
    assert "activation" not in unused_keys(to_dict(compose_config((*OWN, "init=orthogonal"))))
    assert unused_keys(to_dict(compose_config(["model=mlp"]))) == []


@pytest.mark.parametrize(
    ("base", "space", "field"),
    [
        (OWN, "activation=choice(relu,tanh)", "activation"),
        ((*OWN, "regularization=none"), "regularization.dropout=interval(0,0.5)", "regularization.dropout"),
        (OWN, "optimizer.lr=interval(0.1,0.2)", None),
        (("model=mlp",), "activation=choice(relu,tanh)", None),
    ],
)
def test_searches(base: tuple[str, ...], space: str, field: str | None) -> None:
    configs = TrialConfigs((*base, "stage=train"), parse_space(parse_overrides([space])))
    if field is None:
        configs.refuse_unused_options()
        return
    with pytest.raises(UserError) as error:
        configs.refuse_unused_options()
    assert error.value.field == field


def test_search_over_networks_of_which_one_takes_nothing() -> None:
    space = parse_overrides(["activation=choice(relu,tanh)", "model=choice(mlp,torchvision)"])
    with pytest.raises(UserError) as error:
        TrialConfigs(("stage=train",), parse_space(space)).refuse_unused_options()
    assert error.value.field == "activation"
