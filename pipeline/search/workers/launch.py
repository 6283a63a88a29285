"""Jobs of one of Hydra's launchers, which run the trials of a search in other processes or on other hosts."""

from __future__ import annotations

from collections.abc import Callable

from pipeline.search.plan import SearchPlan
from pipeline.search.records import Parameter, Value
from pipeline.search.space.space import to_override
from pipeline.search.study.search_study import SearchStudy

Launch = Callable[[list[list[str]], str], None]
"""Runs one job for each list of overrides, with files in the given directory, and returns when all have ended."""


def run_launched_rounds(plan: SearchPlan, study: SearchStudy, launch: Launch, *, n_jobs: int) -> None:
    """Run all rounds by `n_jobs` jobs, each of which joins the study until no trial is left."""
    try:
        study.create_first_round(plan.first_round)
        launch([job_overrides(plan, i) for i in range(n_jobs)], str(plan.directory))
    finally:
        study.read_rounds(plan.first_round)


def job_overrides(plan: SearchPlan, number: int) -> list[str]:
    """Return the overrides of a job."""
    values: dict[str, Value] = {
        "search.storage": plan.storage_address,
        "search.study": plan.study_name,
        "search.job": True,
        "hydra.sweep.dir": str(plan.directory),
        "hydra.sweep.subdir": f"jobs/{number}",
    }
    return [*plan.request.typed, *(to_override(Parameter(key, "choice"), value) for key, value in values.items())]
