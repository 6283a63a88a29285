"""A search as plain data: positions in ranges, the ranking, and search.json."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from pipeline.search.records import Parameter, RangeChange, Round, Search, Trial, rank_trials, read_search, write_search

LR = Parameter("optimizer.lr", "float", low=1e-4, high=1.0, log=True)


def trial(number: int, score: float, loss: float, state: str = "complete") -> Trial:
    params = {"optimizer.lr": 0.1}
    return Trial(number, 0, params, ("optimizer.lr=0.1",), state, score=score, metrics={"val_loss": loss})


def test_positions() -> None:
    assert LR.to_unit(1e-2) == pytest.approx(0.5)
    assert LR.from_unit(0.25) == pytest.approx(1e-3)
    width = Parameter("model.width", "int", low=10, high=20)
    assert width.to_unit(15) == 0.5
    assert width.from_unit(0.51) == 15
    assert Parameter("activation", "choice", choices=("relu", "elu", "tanh")).to_unit("tanh") == 1


def test_equal_accuracies_are_ranked_by_loss() -> None:
    trials = [trial(0, 0.90, 0.5), trial(1, 0.89, 0.4), trial(2, 0.80, 0.1), trial(3, 0.99, 0.1, "broken")]
    assert [t.number for t in rank_trials(trials, direction="maximize", examples=250)] == [1, 0, 2]
    assert [t.number for t in rank_trials(trials, direction="maximize", examples=1_000_000)] == [0, 1, 2]
    assert [t.number for t in rank_trials(trials, direction="minimize", examples=250)] == [2, 1, 0]


def test_search_json(tmp_path: Path) -> None:
    moves = (RangeChange("optimizer.lr", "widened", "high", "beyond 1"),)
    search = Search(
        "mine", str(tmp_path), "python -m pipeline", ("data=digits",), "maximize", "val_accuracy", 180, 0, "a.log",
        rounds=(Round("coarse", (LR,), 20, 2, moves),),
        trials=(trial(0, math.inf, -math.inf), trial(1, 0.5, 0.1)),
    )  # fmt: skip
    write_search(search)
    assert read_search(tmp_path) == search
    (tmp_path / "search.json").write_text('{"schema": 0}')
    with pytest.raises(ValueError, match="schema 1"):
        read_search(tmp_path)
