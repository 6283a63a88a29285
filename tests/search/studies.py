"""Settings, rounds and studies that the tests of this folder share."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path
from typing import Any

from pipeline.search.plan import JOURNAL
from pipeline.search.records import COMPLETE, Parameter, Round, Trial
from pipeline.search.settings import RoundConfig, SearchSettings
from pipeline.search.space.sampling import ActiveParameters, all_parameters
from pipeline.search.study.heartbeat import WorkerIdentity
from pipeline.search.study.round_study import RoundStudy
from pipeline.search.study.storage import Storage, open_storage

SETTINGS = SearchSettings(
    rounds=(RoundConfig("coarse", 20, 2), RoundConfig("fine", 20, 8)),
    space=(),
    sampler="random",
    compare_samplers=(),
    seed=0,
    metric="val_accuracy",
    top_fraction=0.25,
    max_widenings=5,
    retrain_seeds=0,
    pruner="none",
    workers=None,
    threads=None,
    storage=None,
    study=None,
    join=False,
    fail_fast=False,
    dry_run=False,
)
ROUND = Round("coarse", (Parameter("lr", "float", low=1e-4, high=1.0, log=True),), 6, 2)


class FakeWorker(WorkerIdentity):
    """Another process, of this host or another, which may have ended."""

    def __init__(self, *, alive: bool = True, host: str | None = None):
        super().__init__()
        self.host = host or self.host
        self.started_at = self.started_at if alive else "long ago"


def journal_in(directory: Path) -> Storage:
    return open_storage(str(directory / JOURNAL))


def open_round(
    directory: Path,
    identity: WorkerIdentity | None = None,
    *,
    search_round: Round = ROUND,
    active: ActiveParameters = all_parameters,
    index: int = 0,
    offset: int = 0,
    **changes: Any,
) -> RoundStudy:
    """Return the round's study as a process with its own connection sees it; the first process adds the rows."""
    identity, storage = identity or WorkerIdentity(), journal_in(directory)
    settings = dataclasses.replace(SETTINGS, **changes)
    name = f"s.{index}"
    RoundStudy.create(storage, name, search_round, direction=settings.direction, identity=identity)
    study = RoundStudy(
        storage, name, index, search_round=search_round, identity=identity, settings=settings, offset=offset,
        active=active,
    )  # fmt: skip
    study.heartbeats.send(now=True)
    if study.total_trials() is None and study.is_enqueuer():
        study.enqueue_trials()
    return study


def complete_result(score: float = 0.5) -> dict[str, Any]:
    return {"state": COMPLETE, "score": score, "metrics": {"val_loss": 1.0}, "scores": [score], "seconds": 0.1}


def trials_of(study: RoundStudy) -> list[Trial]:
    return study.trials(lambda search_round, params: [])


def count_states(trials: list[Trial] | tuple[Trial, ...]) -> Counter:
    return Counter(trial.state for trial in trials)
