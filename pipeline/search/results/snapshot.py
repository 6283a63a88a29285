"""The state of a search as a record, read from its study."""

from __future__ import annotations

from pipeline.search.plan import SearchPlan
from pipeline.search.records import Search
from pipeline.search.study.search_study import SearchStudy


def take_snapshot(plan: SearchPlan, study: SearchStudy, *, examples: int, finished: bool = False) -> Search:
    """Return the search with all rounds and trials so far. `examples`: size of the validation split."""
    return Search(
        name=study.name,
        directory=str(plan.directory),
        command=plan.command,
        base=plan.request.base,
        direction=plan.settings.direction,
        metric=plan.settings.metric,
        examples=examples,
        seed=plan.settings.seed,
        storage=plan.storage_address,
        rounds=tuple(round_study.round for round_study in study.rounds),
        trials=tuple(study.trials()),
        finished=finished,
    )
