"""The configurations of trials: what Hydra would compose, and keys that only some options have."""

from __future__ import annotations

import copy
import random

import pytest

from pipeline.config.compose import compose_config
from pipeline.config.plain import to_dict
from pipeline.errors import UserError
from pipeline.search.plan import parse_overrides
from pipeline.search.records import Parameter, Round
from pipeline.search.space import trial_configs as module
from pipeline.search.space.sampling import presample
from pipeline.search.space.space import parameters
from pipeline.search.space.trial_configs import TrialConfigs
from tests.search.shell import TINY

OPTIMIZER = "optimizer=choice(sgd,momentum,adam)"
MOMENTUM = "optimizer.momentum=interval(0.5,0.99)"
RATE = "optimizer.lr=tag(log,interval(1e-4,1))"


def space(*words: str) -> tuple[Parameter, ...]:
    return parameters(parse_overrides(words))


def test_a_trial_has_what_its_overrides_compose_whatever_came_before() -> None:
    both = space(RATE, OPTIMIZER, MOMENTUM, "activation=choice(relu,maxout)", "activation.pieces=range(2,4)")
    trials = TrialConfigs(TINY, both)
    first = Round("coarse", both, 12, 3)
    planned = presample("random", both, 12, seed=1, round=0, applying=trials.active_parameters)
    assert planned is not None
    without = Round("fine", tuple(p for p in both if p.key != "optimizer.momentum"), 12, 3)  # dropped on the way
    jobs = [(first, params) for params in planned]
    jobs += [(without, {k: v for k, v in params.items() if k != "optimizer.momentum"}) for params in planned]
    random.Random(0).shuffle(jobs)
    assert {p["optimizer"] for p in planned} == {"sgd", "momentum", "adam"}
    seen = {}
    for round, params in jobs:
        words = trials.overrides(round, params)
        plain = copy.deepcopy(trials.for_trial(round, params))
        if tuple(words) not in seen:
            seen[tuple(words)] = to_dict(compose_config([*TINY, *words]))
        assert plain == seen[tuple(words)]


def test_a_parameter_belongs_to_the_trials_whose_options_have_its_key() -> None:
    both = space(MOMENTUM, OPTIMIZER, RATE)
    trials = TrialConfigs(TINY, both)
    by_key = {p.key: p for p in both}
    assert trials.active_parameters(both, {}) == (by_key["optimizer"],)  # still open: nothing depends on the others
    assert trials.active_parameters(both, {"optimizer": "momentum"}) == both
    assert trials.active_parameters(both, {"optimizer": "sgd"}) == (by_key["optimizer"], by_key["optimizer.lr"])


def test_others_are_drawn_as_if_it_were_not_there() -> None:
    both = space(RATE, OPTIMIZER, MOMENTUM)
    trials = TrialConfigs(TINY, both)
    all_, some = (
        presample("random", both, 20, seed=0, round=0, **how) for how in ({}, {"applying": trials.active_parameters})
    )
    assert all_ is not None
    assert some is not None
    for whole, kept in zip(all_, some, strict=True):
        assert kept.items() <= whole.items()
        assert ("optimizer.momentum" in kept) == (kept["optimizer"] == "momentum")


def test_a_grid_has_each_point_once() -> None:
    both = space("optimizer=choice(sgd,momentum)", "optimizer.momentum=choice(0.5,0.9,0.99)")
    points = presample("grid", both, 20, seed=0, round=0, applying=TrialConfigs(TINY, both).active_parameters)
    momentums = [{"optimizer": "momentum", "optimizer.momentum": value} for value in (0.5, 0.9, 0.99)]
    assert points == [{"optimizer": "sgd"}, *momentums]


@pytest.mark.parametrize("most", [module.MOST_COMBINATIONS, 1])
def test_a_key_that_no_option_has_is_refused_and_one_that_any_has_is_not(
    most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_COMBINATIONS", most)
    last = "optimizer=choice(sgd,adam,momentum)"
    TrialConfigs(TINY, space(last, "activation=choice(relu,elu)", MOMENTUM)).validate()
    with pytest.raises(UserError, match=r"optimizer\.momentm: there is no such key"):
        TrialConfigs(TINY, space(last, "optimizer.momentm=interval(0,1)")).validate()
    with pytest.raises(UserError, match=r"optimizer\.momentum: there is no such key"):
        TrialConfigs(TINY, space("optimizer=choice(sgd,adam)", MOMENTUM)).validate()
