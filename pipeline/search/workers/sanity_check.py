"""The check of a search's configuration before its first trial."""

from __future__ import annotations

from pipeline.config.to_dict import to_dict
from pipeline.report.terminal import Terminal
from pipeline.search.plan import SearchPlan
from pipeline.search.study.search_study import SearchStudy
from pipeline.search.workers.pool import WorkerPool
from pipeline.search.workers.task import Task
from pipeline.workflow.outcome import outcomes_from_record


def check_configuration(plan: SearchPlan, study: SearchStudy, pool: WorkerPool) -> int | None:
    """Run the stage `sanity`, if it is chosen, on the configuration without the values of a trial.

    Return the size of the validation split, or None if the stage fails. A search that is resumed has passed the check
    before, and stored the size. Raise `UserError` if the configuration cannot be built.
    """
    if (examples := study.stored_examples()) is not None:
        return examples
    configs = plan.trial_configs
    task = Task(
        config=to_dict(configs.base_config),
        flags=configs.flags,
        overrides=(*configs.base, "stage=sanity"),
        directory=plan.directory / "sanity",
        metric=plan.settings.metric,
        is_sanity_check=True,
    )
    (result,) = pool.map([task])
    if isinstance(result, BaseException):
        raise result
    if result["stage"] is not None:
        (outcome,) = outcomes_from_record({"stages": [result["stage"]]})
        Terminal(verbose=1).on_stage_end(outcome)
        if not outcome.passed:
            return None
    study.store_examples(result["examples"])
    return result["examples"]
