"""The node `search`: its defaults, and the field that an error names."""

from __future__ import annotations

import functools
from typing import Any

import pytest

from pipeline.config.compose import compose_config
from pipeline.config.to_dict import to_dict
from pipeline.errors import UserError
from pipeline.search.settings import RoundConfig, read_settings, threads_per_worker, worker_count


@functools.cache
def _default_node() -> dict[str, Any]:
    return to_dict(compose_config(["data=digits", "search=[coarse,fine]"]))["search"]


def node(**changes: Any) -> dict[str, Any]:
    return _default_node() | changes


def test_defaults() -> None:
    settings = read_settings(node())
    assert settings.rounds == (RoundConfig("coarse", 20, 2), RoundConfig("fine", 20, 8))
    assert settings.direction == "maximize"
    assert read_settings(node(metric="val_loss")).direction == "minimize"
    assert [c.trials for c in read_settings(node(trials=7)).rounds] == [7, 7]


def test_samplers_are_compared_in_the_first_round() -> None:
    settings = read_settings(node(compare_samplers=["random", "grid"]))
    assert settings.samplers(0) == ("random", "grid")
    assert settings.samplers(1) == ("random",)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("trials", 0),
        ("sampler", "bayes"),
        ("compare_samplers", "random"),
        ("compare_samplers", ["random", "bayes"]),
        ("seed", -1),
        ("metric", "test_accuracy"),
        ("top_fraction", 0),
        ("max_widenings", -1),
        ("retrain_seeds", 1.5),
        ("pruner", "yes"),
        ("workers", 0),
        ("threads", "many"),
        ("storage", 1),
        ("study", ""),
        ("join", "yes"),
        ("fail_fast", 1),
        ("dry_run", None),
        ("space", "optimizer.lr=interval(0,1)"),
    ],
)
def test_invalid_value(key: str, value: Any) -> None:
    with pytest.raises(UserError) as error:
        read_settings(node(**{key: value}))
    assert error.value.field == f"search.{key}"


@pytest.mark.parametrize(("cores", "gpus", "workers"), [(4, 0, 4), (16, 0, 8), (16, 1, 2), (16, 8, 16), (2, 4, 2)])
def test_default_number_of_workers(cores: int, gpus: int, workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """One for each core, 8 at most; two for each GPU, and no more than cores."""
    monkeypatch.setattr("pipeline.search.settings.available_cores", lambda: cores)
    assert worker_count(read_settings(node()), gpus=gpus) == workers
    assert worker_count(read_settings(node(workers=3)), gpus=gpus) == 3


def test_threads_per_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.search.settings.available_cores", lambda: 4)
    settings = read_settings(node())
    assert [threads_per_worker(settings, n) for n in (1, 2, 3, 8)] == [4, 2, 1, 1]
    assert threads_per_worker(read_settings(node(threads=3)), 8) == 3
