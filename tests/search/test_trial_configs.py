"""The configurations of trials: what Hydra would compose, and keys that only some options have."""

from __future__ import annotations

import copy
import random

import pytest

from pipeline.config.compose import compose_config
from pipeline.config.overrides import parse_overrides
from pipeline.config.to_dict import to_dict
from pipeline.errors import UserError
from pipeline.search.records import Parameter, Round
from pipeline.search.space import trial_configs
from pipeline.search.space.space import parse_space
from pipeline.search.space.trial_configs import TrialConfigs
from pipeline.search.study.samplers import presample
from tests.search.shell import TINY

OPTIMIZER = "optimizer=choice(sgd,momentum)"
MOMENTUM = "optimizer.momentum=interval(0.5,0.99)"
RATE = "optimizer.lr=tag(log,interval(1e-4,1))"


def space(*overrides: str) -> tuple[Parameter, ...]:
    return parse_space(parse_overrides(overrides))


def test_config_is_what_hydra_composes() -> None:
    """Whatever trials came before, in two rounds of which the second lacks a parameter."""
    parameters = space(RATE, OPTIMIZER, MOMENTUM, "activation=choice(relu,maxout)", "activation.pieces=range(2,4)")
    configs = TrialConfigs(TINY, parameters)
    coarse = Round("coarse", parameters, 5, 3)
    fine = Round("fine", tuple(p for p in parameters if p.key != "optimizer.momentum"), 5, 3)
    points = presample("random", parameters, 5, seed=1, round_index=0, active=configs.active_parameters)
    assert points is not None
    assert {params["optimizer"] for params in points} == {"sgd", "momentum"}
    trials = [(coarse, params) for params in points]
    trials += [(fine, {k: v for k, v in params.items() if k != "optimizer.momentum"}) for params in points[:2]]
    random.Random(0).shuffle(trials)
    for search_round, params in trials:
        config = copy.deepcopy(configs.for_trial(search_round, params))
        assert config == to_dict(compose_config([*TINY, *configs.overrides(search_round, params)]))


def test_active_parameters() -> None:
    parameters = space(MOMENTUM, OPTIMIZER, RATE)
    configs = TrialConfigs(TINY, parameters)
    by_key = {p.key: p for p in parameters}
    assert configs.active_parameters(parameters, {}) == (by_key["optimizer"],)  # the option is not chosen yet
    assert configs.active_parameters(parameters, {"optimizer": "momentum"}) == parameters
    assert configs.active_parameters(parameters, {"optimizer": "sgd"}) == (by_key["optimizer"], by_key["optimizer.lr"])


def test_conditional_parameter_changes_no_other() -> None:
    parameters = space(RATE, OPTIMIZER, MOMENTUM)
    configs = TrialConfigs(TINY, parameters)
    unconditional = presample("random", parameters, 20, seed=0, round_index=0)
    conditional = presample("random", parameters, 20, seed=0, round_index=0, active=configs.active_parameters)
    assert unconditional is not None
    assert conditional is not None
    for all_params, params in zip(unconditional, conditional, strict=True):
        assert params.items() <= all_params.items()
        assert ("optimizer.momentum" in params) == (params["optimizer"] == "momentum")


@pytest.mark.parametrize("max_combinations", [trial_configs.MAX_COMBINATIONS, 1])
def test_key_that_no_option_has(max_combinations: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is refused. A key that any of the options has is valid, the last one included."""
    monkeypatch.setattr(trial_configs, "MAX_COMBINATIONS", max_combinations)
    TrialConfigs(TINY, space(OPTIMIZER, MOMENTUM)).validate()
    with pytest.raises(UserError) as error:
        TrialConfigs(TINY, space("optimizer=choice(sgd,adam)", MOMENTUM)).validate()
    assert error.value.field == "optimizer.momentum"


def test_interpolated_node_is_plain_data() -> None:
    """`${data.dataset}` is a whole node, which a user's own data have."""
    custom = ["data=custom", "data.dataset._target_=my_module.MyDataset"]
    parameters = space(RATE)
    configs = TrialConfigs(custom, parameters)
    coarse = Round("coarse", parameters, 1, 1)
    config = configs.for_trial(coarse, {"optimizer.lr": 0.01})
    assert type(config["data"]["source"]["dataset"]) is dict
    composed = to_dict(compose_config([*custom, *configs.overrides(coarse, {"optimizer.lr": 0.01})]))
    assert config["data"] == composed["data"]  # trials have the stage train alone
