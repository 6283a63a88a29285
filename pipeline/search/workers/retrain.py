"""Trainings of single trials with other seeds."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence

from pipeline.search.plan import SearchPlan
from pipeline.search.records import Search
from pipeline.search.results.compare_best import RetrainJob
from pipeline.search.workers.pool import WorkerPool
from pipeline.search.workers.task import Task


def retrain(plan: SearchPlan, search: Search, pool: WorkerPool, jobs: Sequence[RetrainJob]) -> list[float | None]:
    """Train the trials of `jobs` as long as those of the last round, and return their scores.

    The score is None if a training broke or its worker died.
    """
    trials = {trial.number: trial for trial in search.trials}
    tasks = []
    for job in jobs:
        trial = trials[job.trial]
        search_round = dataclasses.replace(search.rounds[trial.round], epochs=search.rounds[-1].epochs)
        config = copy.deepcopy(plan.trial_configs.for_trial(search_round, trial.params)) | {"seed": job.seed}
        tasks.append(Task(config=config, overrides=job.overrides, directory=None, metric=plan.settings.metric))
    results = pool.map(tasks)
    return [None if isinstance(result, BaseException) else result.get("score") for result in results]
