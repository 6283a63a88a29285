"""The node `search` of a configuration, checked."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline import validation
from pipeline.errors import UserError

NON_ADAPTIVE_SAMPLERS = ("random", "quasi_random", "grid")
"""Samplers whose trials are known before the first runs."""
SAMPLERS = (*NON_ADAPTIVE_SAMPLERS, "tpe", "gp")
MOST_WORKERS = 8
"""By default: each takes some 300 MB beside what it shares."""


@dataclass(frozen=True)
class RoundConfig:
    """What an option of `search=` asks for: a round's name, trials and epochs."""

    name: str
    trials: int
    epochs: int


@dataclass(frozen=True)
class SearchSettings:
    """How a search is run. What decides its trials is part of its fingerprint; how they are run is not."""

    rounds: tuple[RoundConfig, ...]
    space: tuple[str, ...]
    sampler: str
    compare_samplers: tuple[str, ...]
    seed: int
    metric: str
    top_fraction: float
    max_widenings: int
    retrain_seeds: int
    pruner: str
    workers: int | None
    threads: int | None
    storage: str | None
    study: str | None
    join: bool
    fail_fast: bool
    dry_run: bool

    @property
    def direction(self) -> str:
        return "minimize" if self.metric == "val_loss" else "maximize"

    def samplers(self, round: int) -> tuple[str, ...]:
        """Those of a round: they are compared in the first, the best ranges of all are gone on with."""
        return self.compare_samplers if self.compare_samplers and round == 0 else (self.sampler,)

    def fingerprint_fields(self) -> dict[str, Any]:
        """What decides which trials there are."""
        apart = ("workers", "threads", "storage", "study", "join", "fail_fast", "dry_run", "space", "retrain_seeds")
        return {key: value for key, value in dataclasses.asdict(self).items() if key not in apart}


def read_settings(node: Mapping[str, Any]) -> SearchSettings:
    """Raises `UserError` for the first value that is none."""
    trials = node["trials"]
    if trials is not None:
        trials = validation.integer("search.trials", trials, at_least=1)
    rounds = tuple(
        RoundConfig(
            str(name),
            trials or validation.integer(f"search.rounds.{name}.trials", wish["trials"], at_least=1),
            validation.integer(f"search.rounds.{name}.epochs", wish["epochs"], at_least=1),
        )
        for name, wish in node["rounds"].items()
    )
    return SearchSettings(
        rounds=rounds,
        space=tuple(str(word) for word in _list("space", node["space"])),
        sampler=validation.one_of("search.sampler", node["sampler"], SAMPLERS),
        compare_samplers=tuple(
            validation.one_of("search.compare", word, SAMPLERS) for word in _list("compare", node["compare"])
        ),
        seed=validation.integer("search.seed", node["seed"], at_least=0, at_most=2**31 - 1),
        metric=validation.one_of("search.metric", node["metric"], ("val_accuracy", "val_loss")),
        top_fraction=validation.number("search.top_fraction", node["keep"], above=0, at_most=1),
        max_widenings=validation.integer("search.max_widenings", node["widenings"], at_least=0),
        retrain_seeds=validation.integer("search.retrain_seeds", node["retrain_seeds"], at_least=0),
        pruner=validation.one_of("search.pruner", node["pruner"], ("none", "median", "hyperband")),
        workers=_count("workers", node["workers"]),
        threads=_count("threads", node["threads"]),
        storage=_word("storage", node["storage"]),
        study=_word("study", node["study"]),
        join=validation.boolean("search.join", node["join"]),
        fail_fast=validation.boolean("search.fail_fast", node["fail_fast"]),
        dry_run=validation.boolean("search.dry_run", node["dry_run"]),
    )


def available_cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


def worker_count(settings: SearchSettings) -> int:
    """Two workers of one thread do more trials than one of two: small networks leave the second thread idle."""
    return settings.workers or min(available_cores(), MOST_WORKERS)


def threads_per_worker(settings: SearchSettings, among: int) -> int:
    """Of one worker where `among` share the cores."""
    return settings.threads or max(1, available_cores() // among)


def _list(key: str, value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise UserError(f"{value!r} is not a list such as [a, b].", field=f"search.{key}")
    return value


def _count(key: str, value: Any) -> int | None:
    return None if value is None else validation.integer(f"search.{key}", value, at_least=1, at_most=4096)


def _word(key: str, value: Any) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not value:
        raise UserError(f"{value!r} is not a word.", field=f"search.{key}")
    return value
