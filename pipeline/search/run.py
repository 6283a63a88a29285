"""A search from what was typed to its results.

`run_search` is the program: plan, study, check of the configuration, rounds, comparison of the best two, results.
`join_search` is the job of a launcher, which runs trials of a search that a program has begun.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from omegaconf import DictConfig

from pipeline.errors import FAILED, PASSED, UserError
from pipeline.runs.paths import update_latest_link
from pipeline.search.early_end import exit_code_of_early_end, saved_at_any_end
from pipeline.search.plan import SearchPlan, make_plan
from pipeline.search.records import Round, write_search
from pipeline.search.report.dry_run import print_trials
from pipeline.search.report.reporter import NullReporter
from pipeline.search.report.terminal import SearchTerminal
from pipeline.search.results.analysis import find_gaps
from pipeline.search.results.compare_best import compare_best_two
from pipeline.search.results.files import write_results
from pipeline.search.results.snapshot import take_snapshot
from pipeline.search.settings import threads_per_worker, worker_count
from pipeline.search.space.refine import next_round
from pipeline.search.study.heartbeat import WorkerIdentity
from pipeline.search.study.ownership import delete_study, join_stored_study, open_or_join_study
from pipeline.search.study.search_study import SearchStudy
from pipeline.search.workers.forkserver import kill_forkserver
from pipeline.search.workers.gpus import list_gpus, share_gpus
from pipeline.search.workers.launch import Launch, run_launched_rounds
from pipeline.search.workers.pool import WorkerPool
from pipeline.search.workers.retrain import retrain
from pipeline.search.workers.sanity_check import check_configuration
from pipeline.search.workers.scheduler import TrialScheduler
from pipeline.workflow.interrupt import InterruptHandler


@exit_code_of_early_end
def run_search(config: DictConfig, arguments: Sequence[str], *, launch: Launch) -> int:
    """Run the search of the overrides `arguments`, and return the exit code.

    `launch` runs jobs with the configured launcher of Hydra. With its basic launcher, the workers of this process run
    the trials.
    """
    plan = make_plan(config, arguments)
    if plan.settings.dry_run:
        print_trials(plan)
        return PASSED
    is_new = not plan.directory.exists()
    study = open_or_join_study(plan, WorkerIdentity())
    uses_launcher = not str(config.hydra.launcher._target_).endswith(".BasicLauncher")
    interrupt = InterruptHandler()
    with interrupt.installed(), _open_pool(plan, n=1 if uses_launcher else None) as pool:
        try:
            examples = check_configuration(plan, study, pool)
        except UserError:
            if is_new:
                delete_study(study, plan)
            raise
        if examples is None:
            return FAILED
        reporter = SearchTerminal(
            metric=plan.settings.metric, direction=plan.settings.direction, verbose=int(config.verbose)
        )
        reporter.print(f"{plan.study_name}  {os.path.relpath(plan.directory)}", style="dim")
        update_latest_link(plan.directory, Path(str(config.outputs)).resolve())
        with saved_at_any_end(plan, study, reporter, examples) as save:
            if uses_launcher:
                run_launched_rounds(plan, study, launch, n_jobs=worker_count(plan.settings))
            else:
                _run_rounds(plan, study, TrialScheduler(plan, pool, reporter, interrupt, save), examples)
        return _write_results(plan, study, pool, reporter, examples)


@exit_code_of_early_end
def join_search(config: DictConfig, *, number: int = 0) -> int:
    """Run trials of the search that `search.storage` and `search.study` name until none is left.

    `number` is that of the launcher's job, by which the jobs of one machine share its GPUs.
    """
    plan, study = join_stored_study(config.search.storage, config.search.study, WorkerIdentity())
    examples = study.stored_examples()
    assert examples is not None, "a job starts after the check of the configuration"
    interrupt = InterruptHandler()
    with interrupt.installed(), _open_pool(plan, n=1, first=number) as pool:
        scheduler = TrialScheduler(plan, pool, NullReporter(), interrupt, save=lambda: None)
        _run_rounds(plan, study, scheduler, examples)
    return PASSED


def _run_rounds(plan: SearchPlan, study: SearchStudy, scheduler: TrialScheduler, examples: int) -> None:
    search_round: Round | None = plan.first_round
    while search_round is not None:
        scheduler.run_round(study.open_round(search_round))
        rounds = [round_study.round for round_study in study.rounds]
        search_round = next_round(rounds, study.trials(), plan.settings, examples=examples)


def _write_results(
    plan: SearchPlan, study: SearchStudy, pool: WorkerPool, reporter: SearchTerminal, examples: int
) -> int:
    search = take_snapshot(plan, study, examples=examples, finished=True)
    write_search(search)
    reporter.print_ranking(search)
    reporter.print_gaps([gap for gap in find_gaps(search) if gap.round == len(search.rounds) - 1])
    seeds, n_best = plan.settings.retrain_seeds, min(2, len(search.ranking()))
    comparison = None
    try:
        if seeds and n_best:
            reporter.print(f"Training the best trials again: {n_best * seeds} trainings with other seeds", style="dim")
            comparison = compare_best_two(search, functools.partial(retrain, plan, search, pool), seeds=seeds)
            reporter.print(comparison.sentence if comparison else "")
    finally:
        write_results(search, comparison)
    return PASSED if any(trial.score is not None for trial in search.trials) else FAILED


@contextlib.contextmanager
def _open_pool(plan: SearchPlan, *, n: int | None, first: int = 0) -> Iterator[WorkerPool]:
    """Yield a pool of `n` workers; None: as many as the settings say. `first` is the number of the first one."""
    threads = threads_per_worker(plan.settings, worker_count(plan.settings))
    try:
        gpus = list_gpus(plan.trial_configs.base_config["trainer"], threads=threads)
        n = n or worker_count(plan.settings, gpus=len(gpus))
        with contextlib.closing(WorkerPool(n, threads=threads, gpus=share_gpus(gpus, n, first=first))) as pool:
            yield pool
    finally:
        kill_forkserver()
