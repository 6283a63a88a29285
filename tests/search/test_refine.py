"""From round to round on scores whose optimum is known."""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Callable

import pytest

from pipeline.search.records import Parameter, RangeChange, Round, Trial
from pipeline.search.settings import SearchSettings
from pipeline.search.space.refine import next_round, rank_correlation
from pipeline.search.study.samplers import presample
from tests.search.studies import SETTINGS

LR = Parameter("lr", "float", low=1e-6, high=1e-5, log=True)
L2 = Parameter("l2", "float", low=1e-6, high=1e-2, log=True)
Score = Callable[[dict], float]


def best_near(rate: float) -> Score:
    """Return a score that falls by 0.1 per decade from `rate`, and breaks beyond 30 times of it. L2 does not matter."""
    return lambda params: math.nan if params["lr"] > 30 * rate else 0.9 - 0.1 * abs(math.log10(params["lr"] / rate))


def run_search(
    score: Score, *parameters: Parameter, settings: SearchSettings = SETTINGS, noise: float = 0.0
) -> list[Round]:
    """Return the rounds of a search with scores in closed form."""
    rounds: list[Round] = []
    trials: list[Trial] = []
    rng = random.Random(settings.seed)
    first = settings.rounds[0]
    search_round: Round | None = Round(first.name, parameters, first.trials, first.epochs)
    while search_round is not None:
        points = presample(
            "random", search_round.parameters, search_round.trials, seed=settings.seed, round_index=len(rounds)
        )
        for params in points or []:
            value = score(params) + rng.gauss(0, noise)
            state = "broken" if math.isnan(value) else "complete"
            trials.append(
                Trial(
                    len(trials), len(rounds), params, (), state,
                    score=None if state == "broken" else value, metrics={"val_loss": -value},
                )
            )  # fmt: skip
        rounds.append(search_round)
        search_round = next_round(rounds, trials, settings, examples=10_000)
    return rounds


def parameter_of(search_round: Round, key: str) -> Parameter:
    return next(p for p in search_round.parameters if p.key == key)


def changes_of(rounds: list[Round], key: str, kind: str) -> list[RangeChange]:
    return [change for r in rounds for change in r.moves if (change.key, change.kind) == (key, kind)]


def test_narrowing() -> None:
    """Around the best trials, and trained longer."""
    coarse, fine = run_search(best_near(1e-2), dataclasses.replace(LR, low=1e-5, high=1.0))
    assert (coarse.epochs, fine.epochs) == (2, 8)
    narrow = parameter_of(fine, "lr")
    assert narrow.low < 1e-2 < narrow.high
    assert narrow.high / narrow.low < 1e5 / 20
    assert [(change.key, change.kind) for change in fine.moves] == [("lr", "narrowed")]


@pytest.mark.parametrize("seed", range(5))
def test_widening_to_the_best_rate(seed: int) -> None:
    """Four decades above the range, with noise."""
    settings = dataclasses.replace(SETTINGS, seed=seed)
    rounds = run_search(best_near(1e-1), LR, L2, settings=settings, noise=0.01)
    assert {change.edge for change in changes_of(rounds, "lr", "widened")} == {"high"}
    fine = parameter_of(next(r for r in rounds if r.name == "fine"), "lr")
    assert fine.low < 1e-1 < fine.high


def test_widening_downwards() -> None:
    rounds = run_search(best_near(1e-4), dataclasses.replace(LR, low=1e-1, high=1.0))
    fine = parameter_of(rounds[-1], "lr")
    assert fine.low < 1e-4 < fine.high


def test_widening_by_one_decade_then_two() -> None:
    rounds = run_search(lambda params: math.log10(params["lr"]), LR)
    exponents = [round(math.log10(parameter_of(r, "lr").high), 2) for r in rounds if r.name == "coarse"]
    assert exponents == [-5, -4, -2, 0, 2, 4]


@pytest.mark.parametrize(
    ("previous", "high"),
    [(RangeChange("lr", "widened", "high", ""), 1e-1), (RangeChange("l2", "widened", "low", ""), 1e-1),
     (RangeChange("l2", "widened", "high", ""), 1.0)],
)  # fmt: skip
def test_second_widening_of_a_side(previous: RangeChange, high: float) -> None:
    """Only a previous widening of the same parameter to the same side makes the next one larger."""
    rounds = [Round("coarse", (LR, L2), 20, 2), Round("coarse", (LR, L2), 20, 2, (previous,))]
    points = presample("random", (LR, L2), 20, seed=0, round_index=1)
    assert points is not None
    trials = [Trial(i, 1, params, (), "complete", score=math.log10(params["l2"])) for i, params in enumerate(points)]  # type: ignore[arg-type]
    wider = next_round(rounds, trials, SETTINGS, examples=10_000)
    assert wider is not None
    assert parameter_of(wider, "l2").high == pytest.approx(high)


def test_whole_numbers_grow_by_one_decade() -> None:
    width = Parameter("width", "int", low=4, high=16, log=True)
    rounds = run_search(lambda params: params["width"], width, settings=dataclasses.replace(SETTINGS, max_widenings=3))
    assert [parameter_of(r, "width").high for r in rounds if r.name == "coarse"] == [16, 160, 1600, 16000]


def test_parameter_without_effect_is_rarely_widened() -> None:
    """1.65 standard errors, and two of three outermost trials: about one round of twenty."""
    n_widened = 0
    for seed in range(60):
        settings = dataclasses.replace(SETTINGS, seed=seed, max_widenings=1)
        rounds = run_search(lambda params: 0.5, L2, settings=settings, noise=0.1)
        n_widened += bool(changes_of(rounds, "l2", "widened"))
    assert n_widened <= 15


@pytest.mark.parametrize("max_widenings", [0, 2])
def test_max_widenings(max_widenings: int) -> None:
    settings = dataclasses.replace(SETTINGS, max_widenings=max_widenings)
    rounds = run_search(lambda params: math.log10(params["lr"]), LR, settings=settings)
    assert len(changes_of(rounds, "lr", "widened")) == max_widenings
    assert rounds[-1].name == "fine"


def test_fraction_stays_below_one() -> None:
    dropout = Parameter("dropout", "float", low=0.0, high=0.5)
    rounds = run_search(lambda params: params["dropout"], dropout)
    assert max(parameter_of(r, "dropout").high for r in rounds) == 1.0


def test_best_choices_are_kept() -> None:
    activation = Parameter("activation", "choice", choices=("relu", "elu", "sigmoid", "tanh"))
    scores = {"relu": 0.9, "elu": 0.88, "sigmoid": 0.2, "tanh": 0.3}
    _, fine = run_search(lambda params: scores[params["activation"]], activation)
    assert set(parameter_of(fine, "activation").choices) <= {"relu", "elu"}


def test_all_trials_broken() -> None:
    """Learning rates are lowered; without one there is no next round."""
    assert len(run_search(lambda params: math.nan, L2)) == 1
    assert len(run_search(lambda params: math.nan, LR)) == 1 + SETTINGS.max_widenings


def test_whole_numbers_stay_whole() -> None:
    width = Parameter("width", "int", low=4, high=16, log=True)
    for search_round in run_search(lambda params: -abs(params["width"] - 100), width):
        assert isinstance(parameter_of(search_round, "width").low, int)
        assert isinstance(parameter_of(search_round, "width").high, int)


def test_rank_correlation() -> None:
    assert rank_correlation([1, 2, 3, 4], [1, 10, 100, 1000]) == pytest.approx(1)
    assert rank_correlation([1, 2, 3, 4], [4, 3, 2, 1]) == pytest.approx(-1)
    assert rank_correlation([1, 2, 3], [5, 5, 5]) == 0
    # ranks 1 2 3 4 against 1.5 1.5 3 4: 1 - 6 * 0.5 / 60 corrected for the tie
    assert rank_correlation([1, 2, 3, 4], [1, 1, 3, 4]) == pytest.approx(4.5 / math.sqrt(5 * 4.5))


# ---------------------------------------------------------------- a parameter that only some trials have

OPTIMIZER = Parameter("optimizer", "choice", choices=("sgd", "momentum"))
MOMENTUM = Parameter("momentum", "float", low=0.5, high=0.99)


def round_after(score: Score) -> Round:
    """Return the round after twenty trials, of which every second one has momentum."""
    points = presample("random", (LR, OPTIMIZER, MOMENTUM), 20, seed=0, round_index=0) or []
    trials = []
    for i, params in enumerate(points):
        params["optimizer"] = ("sgd", "momentum")[i % 2]
        if params["optimizer"] == "sgd":
            del params["momentum"]
        trials.append(Trial(i, 0, params, (), "complete", score=score(params), metrics={"val_loss": 1.0}))
    following = next_round([Round("coarse", (LR, OPTIMIZER, MOMENTUM), 20, 2)], trials, SETTINGS, examples=10_000)
    assert following is not None
    return following


def test_conditional_parameter_is_narrowed() -> None:
    fine = round_after(lambda p: 0.5 + (0.4 - abs(p["momentum"] - 0.7) if "momentum" in p else 0))
    assert fine.name == "fine"
    assert parameter_of(fine, "optimizer").choices == ("momentum",)
    assert 0.5 < parameter_of(fine, "momentum").low < 0.7 < parameter_of(fine, "momentum").high < 0.99


def test_conditional_parameter_is_dropped() -> None:
    fine = round_after(lambda p: 0.2 if "momentum" in p else 0.8 - abs(math.log10(p["lr"]) + 5.5) / 10)
    assert parameter_of(fine, "optimizer").choices == ("sgd",)
    assert [p.key for p in fine.parameters] == ["lr", "optimizer"]
    assert len(changes_of([fine], "momentum", "dropped")) == 1


def test_conditional_parameter_is_widened() -> None:
    coarse = round_after(lambda p: 0.5 + (p["momentum"] / 10 if "momentum" in p else 0))
    assert coarse.name == "coarse"
    assert [(change.key, change.edge) for change in coarse.moves if change.kind == "widened"] == [("momentum", "high")]
