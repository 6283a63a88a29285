"""Samplers and pruners on a round's study, with scores in closed form instead of trainings."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from pipeline.config.overrides import parse_overrides
from pipeline.search.records import COMPLETE, PRUNED, Parameter, Round, Trial, Value
from pipeline.search.settings import NON_ADAPTIVE_SAMPLERS, SAMPLERS
from pipeline.search.space.sampling import grid_points
from pipeline.search.space.space import parse_space
from pipeline.search.study.round_study import RoundStudy
from pipeline.search.study.samplers import presample
from tests.search.studies import complete_result, open_round, trials_of

RATE = Parameter("lr", "float", low=1e-4, high=1.0, log=True)
MOMENTUM = Parameter("momentum", "float", low=0.5, high=0.9)
OPTIMIZER = Parameter("optimizer", "choice", choices=("sgd", "momentum"))
EPOCHS = 9


def space(*overrides: str) -> tuple[Parameter, ...]:
    return parse_space(parse_overrides(overrides))


def with_momentum(parameters: Sequence[Parameter], params: Mapping[str, Value]) -> Sequence[Parameter]:
    """Momentum belongs to the trials with the option of that name."""
    if "optimizer" not in params:
        return [p for p in parameters if p.key == "optimizer"]
    return [p for p in parameters if p.key != "momentum" or params["optimizer"] == "momentum"]


def score(params: Mapping[str, Value]) -> float:
    """Highest at the rate 0.01."""
    return 1 - 0.2 * abs(math.log10(float(params["lr"])) + 2)  # type: ignore[arg-type]


def run_round(study: RoundStudy, *, pruner: bool = False) -> list[Trial]:
    """Run all trials of the round, one after another. The score of a trial rises to its final value."""
    while (claim := study.claim()) is not None:
        final = score(claim.params)
        scores = [final * (epoch + 1) / EPOCHS for epoch in range(EPOCHS)]
        stopped = next((e for e in range(EPOCHS - 1) if pruner and study.should_prune(claim, e, scores[e])), None)
        if stopped is None:
            assert study.complete(claim, complete_result(final))
        else:
            assert study.complete(claim, {"state": PRUNED, "score": scores[stopped], "scores": scores[: stopped + 1]})
    return trials_of(study)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_sampler_with_conditional_parameter(sampler: str, tmp_path: Path) -> None:
    """The option is chosen first, though it stands last, and then the parameters that it has."""
    search_round = Round("coarse", (RATE, MOMENTUM, OPTIMIZER), 12, EPOCHS)
    trials = run_round(open_round(tmp_path, search_round=search_round, sampler=sampler, active=with_momentum))
    assert {trial.state for trial in trials} == {COMPLETE}
    assert all(("momentum" in t.params) == (t.params["optimizer"] == "momentum") for t in trials)
    assert all(RATE.low <= float(t.params["lr"]) <= RATE.high for t in trials)  # type: ignore[arg-type]
    assert {t.params["optimizer"] for t in trials} == {"sgd", "momentum"}


def test_tpe_learns_from_scores(tmp_path: Path) -> None:
    trials = run_round(open_round(tmp_path, search_round=Round("coarse", (RATE,), 40, EPOCHS), sampler="tpe"))
    scores = [t.score or 0.0 for t in trials]
    assert sum(scores[20:]) > sum(scores[:10]) * 2


@pytest.mark.parametrize("pruner", ["none", "median", "hyperband"])
def test_pruner(pruner: str, tmp_path: Path) -> None:
    """Bad trials are pruned, the best one never."""
    search_round = Round("coarse", (RATE,), 24, EPOCHS)
    trials = run_round(open_round(tmp_path, search_round=search_round, pruner=pruner), pruner=True)
    pruned = [t for t in trials if t.state == PRUNED]
    assert bool(pruned) == (pruner != "none")
    assert all(len(t.scores) < EPOCHS for t in pruned)
    assert max(trials, key=lambda t: score(t.params)).state == COMPLETE


def test_compared_samplers_share_the_round(tmp_path: Path) -> None:
    search_round = Round("coarse", (RATE,), 4, EPOCHS)
    trials = run_round(open_round(tmp_path, search_round=search_round, compare_samplers=("random", "grid", "tpe")))
    assert [t.sampler for t in trials] == ["random"] * 4 + ["grid"] * 4 + ["tpe"] * 4


@pytest.mark.parametrize("sampler", ["random", "quasi_random"])
def test_trials_follow_from_seed_round_and_number(sampler: str) -> None:
    both = space("a=tag(log,interval(1e-4,1))", "b=choice(x,y,z)", "c=int(interval(1,9))")
    short = presample(sampler, both, 8, seed=3, round_index=0)
    long = presample(sampler, both, 16, seed=3, round_index=0)
    assert short is not None
    assert long is not None
    assert long[:8] == short
    assert presample(sampler, both, 8, seed=4, round_index=0) != short
    assert presample(sampler, both, 8, seed=3, round_index=1) != short
    for trial in long:
        assert all(0 <= p.to_unit(trial[p.key]) <= 1 for p in both)


def test_known_trials() -> None:
    """The same command must always try the same values."""
    assert presample("random", (RATE, OPTIMIZER), 3, seed=0, round_index=1) == [
        {"lr": 0.018597, "optimizer": "sgd"},
        {"lr": 0.00262218, "optimizer": "momentum"},
        {"lr": 0.0110013, "optimizer": "sgd"},
    ]


def test_log_sampling_is_uniform_over_decades() -> None:
    trials = presample("random", (RATE,), 400, seed=0, round_index=0)
    assert trials is not None
    decades = [math.floor(math.log10(float(trial["lr"]))) for trial in trials]  # type: ignore[arg-type]
    assert all(70 <= decades.count(decade) <= 130 for decade in (-4, -3, -2, -1))


def test_grid() -> None:
    both = space("a=tag(log,interval(1e-4,1))", "b=tag(log,interval(1e-2,1))")
    points = grid_points(both, 20)
    assert len(points) == 20
    assert len({p["a"] for p in points}) in (4, 5)
    assert {1e-4, 1.0} <= {p["a"] for p in points}
    assert len(grid_points(space("a=choice(x,y,z)", "b=choice(u,v)"), 4)) == 4
    assert len(grid_points(space("a=choice(x,y,z)", "b=choice(u,v)"), 100)) == 6


def test_grid_has_each_point_once() -> None:
    both = space("optimizer=choice(sgd,momentum)", "momentum=choice(0.5,0.9,0.99)")
    points = presample("grid", both, 20, seed=0, round_index=0, active=with_momentum)
    momentums = [{"optimizer": "momentum", "momentum": value} for value in (0.5, 0.9, 0.99)]
    assert points == [{"optimizer": "sgd"}, *momentums]


@pytest.mark.parametrize("sampler", sorted(set(SAMPLERS) - set(NON_ADAPTIVE_SAMPLERS)))
def test_adaptive_samplers_have_no_trials_in_advance(sampler: str) -> None:
    assert presample(sampler, space("a=interval(0,1)"), 5, seed=0, round_index=0) is None
