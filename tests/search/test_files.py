"""trials.csv, best.yaml and final.json, read again by those who use them."""

from __future__ import annotations

import csv
import json
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.config.compose import compose_config
from pipeline.search.records import Search
from pipeline.search.results.compare_best import RetrainedTrial, SeedComparison
from pipeline.search.results.files import chosen_trial, trials_csv, write_results

SearchOf = Callable[..., Search]


def test_trials_csv(search_of: SearchOf) -> None:
    """Every trial has a row with its state, reason, parameters and rank."""
    search = search_of(fine=True)
    rows = list(csv.DictReader(trials_csv(search).splitlines()))
    assert [int(row["trial"]) for row in rows] == list(range(len(search.trials)))
    for row, trial in zip(rows, search.trials, strict=True):
        assert (row["state"], row["reason"], row["directory"]) == (trial.state, trial.reason, trial.directory)
        assert float(row["optimizer.lr"]) == trial.params["optimizer.lr"]
        assert row["activation"] == trial.params["activation"]
        assert row["score"] == ("" if trial.score is None else str(trial.score))
        assert tuple(shlex.split(row["overrides"])) == trial.overrides
    assert {row["round_name"] for row in rows} == {"coarse", "fine"}
    trial_of_rank = {row["place"]: int(row["trial"]) for row in rows if row["place"]}
    assert [trial_of_rank[str(i + 1)] for i in range(len(trial_of_rank))] == [t.number for t in search.ranking()]


def test_trials_csv_without_trials(search_of: SearchOf) -> None:
    text = trials_csv(replace(search_of(), trials=()))
    assert text.startswith("trial,place,round")
    assert text.count("\n") == 1


def test_trials_csv_with_special_characters(search_of: SearchOf) -> None:
    search = search_of(trials=2)
    reason = 'ValueError: "a",\nb'
    search = replace(search, trials=(replace(search.trials[0], state="crashed", reason=reason), search.trials[1]))
    rows = list(csv.DictReader(trials_csv(search).splitlines(keepends=True)))
    assert rows[0]["reason"] == reason


def test_best_yaml_gives_the_trial(search_of: SearchOf) -> None:
    search = search_of(fine=True)
    write_results(search)
    path = Path(search.directory) / "best.yaml"
    best = search.ranking()[0]
    config = compose_config([f"experiment={path}"])
    values = [override for override in best.overrides if not override.startswith(("stage=", "stages."))]
    epochs = f"stages.train.epochs={search.rounds[-1].epochs}"
    assert config == compose_config(["data=digits", "model=mlp", *values, epochs])
    assert list(config.stages) == ["sanity", "overfit", "train", "evaluate"]
    assert compose_config([f"experiment={path}", "optimizer.lr=0.5", "data=fashion_mnist_5k"]).optimizer.lr == 0.5


def test_best_yaml_after_a_comparison(search_of: SearchOf) -> None:
    """It is the chosen trial, and the header has the scores to expect and the command."""
    search = search_of()
    best, second = search.ranking()[:2]
    comparison = SeedComparison(
        verdict="worse",
        sentence="",
        chosen=second.number,
        seeds=(1, 2),
        winner=RetrainedTrial(best.number, 0.9, (0.7, 0.8)),
        runner_up=RetrainedTrial(second.number, 0.9, (0.89, 0.91)),
    )
    write_results(search, comparison)
    assert chosen_trial(search, comparison) == second
    header = (Path(search.directory) / "best.yaml").read_text()
    assert f"Trial {second.number} " in header
    assert "0.9000 ± 0.0141" in header
    assert f"python -m pipeline experiment={search.directory}/best.yaml" in header
    final = json.loads((Path(search.directory) / "final.json").read_text())
    assert final["trained"][1]["mean"] == pytest.approx(0.9)


def test_no_complete_trial(search_of: SearchOf) -> None:
    search = search_of(trials=4)
    write_results(replace(search, trials=tuple(replace(t, state="crashed", score=None) for t in search.trials)))
    assert sorted(p.name for p in Path(search.directory).iterdir()) == ["report.html", "trials.csv"]
