"""From round to round on scores whose optimum is known."""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Callable

import pytest

from pipeline.search.records import Parameter, RangeChange, Round, Trial
from pipeline.search.settings import RoundConfig, SearchSettings
from pipeline.search.space.refine import next_round
from pipeline.search.space.sampling import presample

SETTINGS = SearchSettings(
    rounds=(RoundConfig("coarse", 20, 2), RoundConfig("fine", 20, 8)), space=(), sampler="random", compare_samplers=(), seed=0,
    metric="val_accuracy", top_fraction=0.25, max_widenings=5, retrain_seeds=0, pruner="none", workers=None, threads=None,
    storage=None, study=None, join=False, fail_fast=False, dry_run=False,
)  # fmt: skip
LR = Parameter("lr", "float", low=1e-6, high=1e-5, log=True)
L2 = Parameter("l2", "float", low=1e-6, high=1e-2, log=True)
Score = Callable[[dict], float]


def at_its_best_near(rate: float) -> Score:
    """Falls by 0.1 per decade from the best rate; beyond 30 times of it a trial breaks. L2 does not matter."""
    return lambda params: math.nan if params["lr"] > 30 * rate else 0.9 - 0.1 * abs(math.log10(params["lr"] / rate))


def searched(
    score: Score, *parameters: Parameter, settings: SearchSettings = SETTINGS, noise: float = 0.0
) -> list[Round]:
    rounds: list[Round] = []
    trials: list[Trial] = []
    luck = random.Random(settings.seed)
    first = settings.rounds[0]
    round: Round | None = Round(first.name, parameters, first.trials, first.epochs)
    while round is not None:
        planned = presample("random", round.parameters, round.trials, seed=settings.seed, round=len(rounds))
        for params in planned or []:
            value = score(params) + luck.gauss(0, noise)
            state = "broken" if math.isnan(value) else "complete"
            trials.append(
                Trial(
                    len(trials), len(rounds), params, (), state,
                    score=None if state == "broken" else value, metrics={"val_loss": -value},
                )
            )  # fmt: skip
        rounds.append(round)
        round = next_round(rounds, trials, settings, examples=10_000)
    return rounds


def of(round: Round, key: str) -> Parameter:
    return next(p for p in round.parameters if p.key == key)


def test_a_range_around_the_best_is_narrowed_and_trained_longer() -> None:
    coarse, fine = searched(at_its_best_near(1e-2), dataclasses.replace(LR, low=1e-5, high=1.0))
    assert (coarse.epochs, fine.epochs) == (2, 8)
    narrow = of(fine, "lr")
    assert narrow.low < 1e-2 < narrow.high
    assert narrow.high / narrow.low < 1e5 / 20
    assert [(move.key, move.kind) for move in fine.moves] == [("lr", "narrowed")]


@pytest.mark.parametrize("seed", range(5))
def test_the_best_rate_is_found_far_outside_the_range(seed: int) -> None:
    settings = dataclasses.replace(SETTINGS, seed=seed)
    rounds = searched(at_its_best_near(1e-1), LR, L2, settings=settings, noise=0.01)
    widened = [r for r in rounds if any(m.kind == "widened" and m.key == "lr" for m in r.moves)]
    assert widened
    assert all("high edge" in m.message for r in widened for m in r.moves if m.kind == "widened" and m.key == "lr")
    fine = of(next(r for r in rounds if r.name == "fine"), "lr")
    assert fine.low < 1e-1 < fine.high


def test_it_is_found_below_the_range_too() -> None:
    rounds = searched(at_its_best_near(1e-4), dataclasses.replace(LR, low=1e-1, high=1.0))
    fine = of(rounds[-1], "lr")
    assert fine.low < 1e-4 < fine.high


def ends(rounds: list[Round], key: str) -> list[float]:
    """The upper ends of a range, round by round, as powers of ten."""
    return [round(math.log10(of(r, key).high), 2) for r in rounds if r.name == "coarse"]


def test_a_range_is_widened_by_one_decade_then_by_two_each_time() -> None:
    endless = searched(lambda params: math.log10(params["lr"]), LR)
    assert ends(endless, "lr") == [-5, -4, -2, 0, 2, 4]


@pytest.mark.parametrize(
    ("before", "high"),
    [(RangeChange("lr", "widened", "high", ""), 1e-1), (RangeChange("l2", "widened", "low", ""), 1e-1),
     (RangeChange("l2", "widened", "high", ""), 1.0)],
)  # fmt: skip
def test_a_widening_counts_for_its_own_parameter_and_side(before: RangeChange, high: float) -> None:
    rounds = [Round("coarse", (LR, L2), 20, 2), Round("coarse", (LR, L2), 20, 2, (before,))]
    planned = presample("random", (LR, L2), 20, seed=0, round=1)
    assert planned is not None
    trials = [Trial(i, 1, params, (), "complete", score=math.log10(params["l2"])) for i, params in enumerate(planned)]
    wider = next_round(rounds, trials, SETTINGS, examples=10_000)
    assert wider is not None
    assert of(wider, "l2").high == pytest.approx(high)


def test_whole_numbers_are_widened_by_a_decade_at_most() -> None:
    width = Parameter("width", "int", low=4, high=16, log=True)
    rounds = searched(lambda params: params["width"], width, settings=dataclasses.replace(SETTINGS, max_widenings=3))
    assert [of(r, "width").high for r in rounds if r.name == "coarse"] == [16, 160, 1600, 16000]


def test_a_parameter_that_does_not_matter_is_rarely_widened() -> None:
    """1.65 standard errors and two of three: about one round of twenty."""
    wrong = 0
    for seed in range(60):
        settings = dataclasses.replace(SETTINGS, seed=seed, max_widenings=1)
        rounds = searched(lambda params: 0.5, L2, settings=settings, noise=0.1)
        wrong += any(m.kind == "widened" for r in rounds for m in r.moves)
    assert wrong <= 15


def test_widening_ends() -> None:
    rounds = searched(
        lambda params: math.log10(params["lr"]), LR, settings=dataclasses.replace(SETTINGS, max_widenings=2)
    )
    assert sum(any(m.kind == "widened" for m in r.moves) for r in rounds) == 2
    assert rounds[-1].name == "fine"


def test_a_share_stays_a_share() -> None:
    dropout = Parameter("dropout", "float", low=0.0, high=0.5)
    rounds = searched(lambda params: params["dropout"], dropout)
    assert max(of(r, "dropout").high for r in rounds) == 1.0


def test_choices_that_win_are_kept() -> None:
    kind = Parameter("activation", "choice", choices=("relu", "elu", "sigmoid", "tanh"))
    good = {"relu": 0.9, "elu": 0.88, "sigmoid": 0.2, "tanh": 0.3}
    _, fine = searched(lambda params: good[params["activation"]], kind)
    assert set(of(fine, "activation").choices) <= {"relu", "elu"}


def test_there_is_no_next_round_where_everything_broke_whatever_the_rate() -> None:
    assert len(searched(lambda params: math.nan, L2)) == 1
    assert len(searched(lambda params: math.nan, LR)) == 1 + SETTINGS.max_widenings


def test_whole_numbers_stay_whole() -> None:
    width = Parameter("width", "int", low=4, high=16, log=True)
    for round in searched(lambda params: -abs(params["width"] - 100), width):
        assert isinstance(of(round, "width").low, int)
        assert isinstance(of(round, "width").high, int)


# ---------------------------------------------------------------- a parameter that some trials have

OPTIMIZER = Parameter("optimizer", "choice", choices=("sgd", "momentum"))
MOMENTUM = Parameter("momentum", "float", low=0.5, high=0.99)


def after_one_round(score: Score) -> Round:
    """The round behind twenty trials, of which every second is momentum's."""
    planned = presample("random", (LR, OPTIMIZER, MOMENTUM), 20, seed=0, round=0) or []
    trials = []
    for i, params in enumerate(planned):
        params["optimizer"] = ("sgd", "momentum")[i % 2]
        if params["optimizer"] == "sgd":
            del params["momentum"]
        trials.append(Trial(i, 0, params, (), "complete", score=score(params), metrics={"val_loss": 1.0}))
    following = next_round([Round("coarse", (LR, OPTIMIZER, MOMENTUM), 20, 2)], trials, SETTINGS, examples=10_000)
    assert following is not None
    return following


def test_it_is_narrowed_around_those_that_have_it() -> None:
    fine = after_one_round(lambda p: 0.5 + (0.4 - abs(p["momentum"] - 0.7) if "momentum" in p else 0))
    assert fine.name == "fine"
    assert of(fine, "optimizer").choices == ("momentum",)
    assert 0.5 < of(fine, "momentum").low < 0.7 < of(fine, "momentum").high < 0.99


def test_it_is_dropped_where_no_good_trial_has_it() -> None:
    fine = after_one_round(lambda p: 0.2 if "momentum" in p else 0.8 - abs(math.log10(p["lr"]) + 5.5) / 10)
    assert of(fine, "optimizer").choices == ("sgd",)
    assert [p.key for p in fine.parameters] == ["lr", "optimizer"]
    assert next(move for move in fine.moves if move.key == "momentum").kind == "dropped"


def test_it_is_widened_by_the_trials_that_have_it() -> None:
    coarse = after_one_round(lambda p: 0.5 + (p["momentum"] / 10 if "momentum" in p else 0))
    assert coarse.name == "coarse"
    assert [(move.key, move.edge) for move in coarse.moves if move.kind == "widened"] == [("momentum", "high")]
