"""The node `search` of a configuration, validated."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline import validation
from pipeline.errors import UserError
from pipeline.training.score_names import is_falling, validation_scores
from pipeline.workflow.process_setup import available_cores

NON_ADAPTIVE_SAMPLERS = ("random", "quasi_random", "grid")
"""Samplers that choose all trials of a round before the first one runs."""
SAMPLERS = (*NON_ADAPTIVE_SAMPLERS, "tpe", "gp")
MAX_DEFAULT_WORKERS = 8
"""Default limit of workers. Each takes about 300 MB that it does not share."""
WORKERS_PER_GPU = 2
"""Default number of workers on a GPU: one prepares or evaluates a trial on the CPU while the other computes. Each has a
CUDA context and a share of the memory, and kernels of different processes take turns."""
NOT_IN_FINGERPRINT = (
    "workers",
    "threads",
    "storage",
    "study",
    "join",
    "fail_fast",
    "dry_run",
    "space",
    "retrain_seeds",
)
"""Settings that decide how a search runs, not which trials it has. The fingerprint takes the space as it is parsed."""


@dataclass(frozen=True)
class RoundConfig:
    """An option of `search=`: the name, trials and epochs of a round."""

    name: str
    trials: int
    epochs: int


@dataclass(frozen=True)
class SearchSettings:
    """The values of the node `search`; conf/config.yaml describes each."""

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
        return "minimize" if is_falling(self.metric) else "maximize"

    def samplers(self, round_index: int) -> tuple[str, ...]:
        """Return the samplers of a round. Samplers are compared in the first round only."""
        return self.compare_samplers if self.compare_samplers and round_index == 0 else (self.sampler,)

    def fingerprint_fields(self) -> dict[str, Any]:
        """Return the settings that decide which trials the search has."""
        return {key: value for key, value in dataclasses.asdict(self).items() if key not in NOT_IN_FINGERPRINT}


def read_settings(node: Mapping[str, Any]) -> SearchSettings:
    """Validate the node `search`. Raise `UserError` for the first invalid value."""
    return SearchSettings(
        rounds=_read_rounds(node),
        space=tuple(str(override) for override in _list("space", node["space"])),
        sampler=validation.one_of("search.sampler", node["sampler"], SAMPLERS),
        compare_samplers=tuple(
            validation.one_of("search.compare_samplers", sampler, SAMPLERS)
            for sampler in _list("compare_samplers", node["compare_samplers"])
        ),
        seed=validation.integer("search.seed", node["seed"], at_least=0, at_most=2**31 - 1),
        metric=validation.one_of("search.metric", node["metric"], validation_scores()),
        top_fraction=validation.number("search.top_fraction", node["top_fraction"], above=0, at_most=1),
        max_widenings=validation.integer("search.max_widenings", node["max_widenings"], at_least=0),
        retrain_seeds=validation.integer("search.retrain_seeds", node["retrain_seeds"], at_least=0),
        pruner=validation.one_of("search.pruner", node["pruner"], ("none", "median", "hyperband")),
        workers=_optional_count("workers", node["workers"]),
        threads=_optional_count("threads", node["threads"]),
        storage=_optional_text("storage", node["storage"]),
        study=_optional_text("study", node["study"]),
        join=validation.boolean("search.join", node["join"]),
        fail_fast=validation.boolean("search.fail_fast", node["fail_fast"]),
        dry_run=validation.boolean("search.dry_run", node["dry_run"]),
    )


def worker_count(settings: SearchSettings, *, gpus: int = 0) -> int:
    """Return the number of workers: by default one for each core, and on GPUs at most `WORKERS_PER_GPU` times `gpus`.

    Two workers of one thread run more trials than one worker of two threads, since small networks leave the second
    thread idle.
    """
    return settings.workers or min(available_cores(), WORKERS_PER_GPU * gpus or MAX_DEFAULT_WORKERS)


def threads_per_worker(settings: SearchSettings, n_workers: int) -> int:
    """Return the number of threads of each of `n_workers` workers."""
    return settings.threads or max(1, available_cores() // n_workers)


def _read_rounds(node: Mapping[str, Any]) -> tuple[RoundConfig, ...]:
    trials = node["trials"]
    if trials is not None:
        trials = validation.integer("search.trials", trials, at_least=1)
    return tuple(
        RoundConfig(
            str(name),
            trials or validation.integer(f"search.rounds.{name}.trials", requested["trials"], at_least=1),
            validation.integer(f"search.rounds.{name}.epochs", requested["epochs"], at_least=1),
        )
        for name, requested in node["rounds"].items()
    )


def _list(key: str, value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise UserError(f"{value!r} is not a list such as [a, b].", field=f"search.{key}")
    return value


def _optional_count(key: str, value: Any) -> int | None:
    return None if value is None else validation.integer(f"search.{key}", value, at_least=1, at_most=4096)


def _optional_text(key: str, value: Any) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not value:
        raise UserError(f"{value!r} is not a text. Give a name, a path or an address, or leave the key out.",
                        field=f"search.{key}")  # fmt: skip
    return value
