"""trials.csv and best.yaml, read again by those who use them."""

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
from pipeline.search.results.files import chosen, trials_csv, write

SearchOf = Callable[..., Search]


def rows(search: Search) -> list[dict[str, str]]:
    return list(csv.DictReader(trials_csv(search).splitlines()))


def test_every_trial_has_a_row_with_its_state_and_reason(search_of: SearchOf) -> None:
    search = search_of(fine=True)
    found = rows(search)
    assert [int(row["trial"]) for row in found] == list(range(len(search.trials)))
    for row, trial in zip(found, search.trials, strict=True):
        assert (row["state"], row["reason"], row["directory"]) == (trial.state, trial.reason, trial.directory)
        assert float(row["optimizer.lr"]) == trial.params["optimizer.lr"]
        assert row["activation"] == trial.params["activation"]
        assert row["score"] == ("" if trial.score is None else str(trial.score))
        assert tuple(shlex.split(row["overrides"])) == trial.overrides
    assert {row["round_name"] for row in found} == {"coarse", "fine"}
    places = {row["place"]: int(row["trial"]) for row in found if row["place"]}
    assert [places[str(i + 1)] for i in range(len(places))] == [t.number for t in search.ranking()]


def test_a_search_without_trials_has_a_header(search_of: SearchOf) -> None:
    text = trials_csv(replace(search_of(), trials=()))
    assert text.startswith("trial,place,round")
    assert text.count("\n") == 1


def test_words_with_commas_and_lines_survive(search_of: SearchOf) -> None:
    search = search_of(trials=2)
    reason = 'ValueError: "a",\nb'
    search = replace(search, trials=(replace(search.trials[0], state="crashed", reason=reason), search.trials[1]))
    found = list(csv.DictReader(trials_csv(search).splitlines(keepends=True)))
    assert found[0]["reason"] == reason


def test_the_best_is_a_recipe_that_gives_the_trial(search_of: SearchOf) -> None:
    search = search_of(fine=True)
    write(search)
    path = Path(search.directory) / "best.yaml"
    best = search.ranking()[0]
    config = compose_config([f"experiment={path}"])
    own = [word for word in best.overrides if not word.startswith(("stage=", "stages."))]
    typed = compose_config(["data=digits", "model=mlp", *own, f"stages.train.epochs={search.rounds[-1].epochs}"])
    assert config == typed
    assert list(config.stages) == ["sanity", "overfit", "train", "evaluate"]
    assert compose_config([f"experiment={path}", "optimizer.lr=0.5", "data=fashion_mnist_5k"]).optimizer.lr == 0.5


def test_the_header_says_what_to_expect(search_of: SearchOf) -> None:
    search = search_of()
    best, second = search.ranking()[:2]
    seeds = SeedComparison(
        verdict="worse",
        sentence="",
        chosen=second.number,
        seeds=(1, 2),
        winner=RetrainedTrial(best.number, 0.9, (0.7, 0.8)),
        runner_up=RetrainedTrial(second.number, 0.9, (0.89, 0.91)),
    )
    write(search, seeds)
    assert chosen(search, seeds) == second
    text = (Path(search.directory) / "best.yaml").read_text()
    assert f"# Trial {second.number} of 40" in text
    assert "# With 2 other seeds: 0.9000 ± 0.0141" in text
    assert f"#   python -m pipeline experiment={search.directory}/best.yaml" in text
    told = json.loads((Path(search.directory) / "final.json").read_text())
    assert told["trained"][1]["mean"] == pytest.approx(0.9)


def test_with_nothing_complete_there_is_no_best(search_of: SearchOf) -> None:
    search = search_of(trials=4)
    write(replace(search, trials=tuple(replace(t, state="crashed", score=None) for t in search.trials)))
    assert sorted(p.name for p in Path(search.directory).iterdir()) == ["report.html", "trials.csv"]
