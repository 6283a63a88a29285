"""The stages in order: each runs only if all before it passed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

from pipeline.training.out_of_memory import explain_out_of_memory
from pipeline.workflow.components import Components, RunContext
from pipeline.workflow.memory import measure_peak_memory
from pipeline.workflow.outcome import Outcome
from pipeline.workflow.reporter import Reporter


def run_stages(
    components: Components,
    context: RunContext,
    reporter: Reporter,
    *,
    earlier: Sequence[Outcome] = (),
    completed: Mapping[str, Outcome] | None = None,
    on_outcome: Callable[[list[Outcome]], None] = lambda outcomes: None,
    stop_after: Callable[[list[Outcome]], bool] = lambda outcomes: False,
) -> list[Outcome]:
    """Run the stages that follow `earlier`, up to the first that fails, and return all outcomes.

    `completed` are outcomes of a resumed run, by stage; those stages are not run again. `on_outcome` is called with the
    outcomes so far after each stage, and so is `stop_after`, which may end the loop before the next one.
    """
    completed = completed or {}
    outcomes = list(earlier)
    for name in list(components.stages)[len(outcomes) :]:
        if outcomes and not outcomes[-1].passed:
            break
        if name in completed:
            outcomes.append(completed[name])
        else:
            reporter.on_stage_start(name)
            outcomes.append(run_stage(components, context, name, outcomes))
        reporter.on_stage_end(outcomes[-1], resumed=name in completed)
        on_outcome(outcomes)
        if stop_after(outcomes):
            break
    return outcomes


def run_stage(components: Components, context: RunContext, name: str, earlier: Sequence[Outcome]) -> Outcome:
    """Run one stage and return its outcome, peak memory included. Raises `OutOfMemory` where memory runs out."""
    device, data, config = components.device_config.device, components.data, components.config
    with (
        measure_peak_memory(device) as memory,
        explain_out_of_memory(config, stage=name, data=data, is_trial=context.is_trial),
    ):
        outcome = components.stages[name](components, context, earlier)
    return dataclasses.replace(outcome, memory=memory())
