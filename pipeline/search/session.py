"""One process's part in a search: sanity, rounds, results."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import functools
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from omegaconf import DictConfig
from optuna.storages import BaseStorage

from pipeline.checks import Finding
from pipeline.config.plain import to_dict
from pipeline.errors import FAILED, PASSED, Interrupted, UserError
from pipeline.report.terminal import Terminal
from pipeline.runs.paths import update_latest_link
from pipeline.search.plan import SearchPlan
from pipeline.search.records import Parameter, Round, Search, Value, write_search
from pipeline.search.report.terminal import SearchTerminal
from pipeline.search.results import files
from pipeline.search.results.analysis import gaps
from pipeline.search.results.compare_best import RetrainJob, compare_best_two
from pipeline.search.settings import SearchSettings, threads_per_worker, worker_count
from pipeline.search.space.space import to_override
from pipeline.search.space.trial_configs import TrialConfigs
from pipeline.search.study.heartbeat import WorkerIdentity
from pipeline.search.study.ownership import delete_study, open_or_join_study
from pipeline.search.study.storage import JOURNAL, open_storage
from pipeline.search.workers.pool import WorkerPool
from pipeline.search.workers.scheduler import FailFast, TrialScheduler, no_trial_completed
from pipeline.search.workers.task import Task
from pipeline.workflow.interrupt import InterruptHandler

Launch = Callable[[list[list[str]], str], None]


class SearchSession:
    """This process's part in a search."""

    def __init__(
        self, config: DictConfig, settings: SearchSettings, plan: SearchPlan, configurations: TrialConfigs, first: Round
    ):
        self.config, self.settings, self.plan = config, settings, plan
        self.configurations, self.first = configurations, first
        self.directory = Path(plan.directory)
        self.study = settings.study or f"{config.name}-{plan.fingerprint}"
        self.identity, self.stopper = WorkerIdentity(), InterruptHandler()
        self.storage: BaseStorage

    # ------------------------------------------------------------------ the program

    def run(self, launch: Launch | None) -> int:
        new = not self.directory.exists()
        among = worker_count(self.settings)
        teller = SearchTerminal(
            metric=self.settings.metric,
            direction=self.settings.direction,
            verbose=int(self.config.verbose),
        )
        self.storage = open_storage(self.settings.storage, self.directory)
        self.id = open_or_join_study(
            self.storage, self.study, self.first, self.plan, settings=self.settings, me=self.identity
        )
        with (
            self.stopper.installed(),
            _closing(WorkerPool(among if launch is None else 1, threads=self._threads())) as pool,
        ):
            try:
                examples = self._sanity(pool)
            except UserError:
                if new:
                    delete_study(self.storage, self.id, self.directory)
                raise
            if examples is None:
                return FAILED
            teller.print(f"{self.study}  {os.path.relpath(self.directory)}", style="dim")
            update_latest_link(self.directory, Path(str(self.config.outputs)).resolve())
            engine = self._engine(pool, examples, teller)
            try:
                self._run_rounds(engine, launch, among)
            except (Interrupted, KeyboardInterrupt, FailFast):
                if (found := self._snapshot(engine)).trials:
                    files.write(found)
                raise
            finally:
                teller.close()
                self._save(engine)
            return self._results(engine, pool, teller)

    def _run_rounds(self, engine: TrialScheduler, launch: Launch | None, among: int) -> None:
        """All rounds, by workers of our own or by a launcher's jobs."""
        if launch is None:
            engine.run()
            return
        try:
            engine.create_first_round()
            launch([self._job(k) for k in range(among)], str(self.directory))
        finally:
            engine.read_finished_rounds()

    def run_as_worker(self, examples: int, teller: Any) -> None:
        """Take trials until there are none, as one of many."""
        with self.stopper.installed(), _closing(WorkerPool(1, threads=self._threads())) as pool:
            self._engine(pool, examples, teller, save=False).run()

    def _threads(self) -> int:
        return threads_per_worker(self.settings, worker_count(self.settings))

    def _engine(self, pool: WorkerPool, examples: int, teller: Any, *, save: bool = True) -> TrialScheduler:
        return TrialScheduler(
            storage=self.storage,
            study=self.study,
            settings=self.settings,
            configurations=self.configurations,
            first=self.first,
            directory=self.directory,
            examples=examples,
            pool=pool,
            teller=teller,
            stopper=self.stopper,
            saved=self._save if save else lambda engine: None,
            identity=self.identity,
        )

    def _job(self, number: int) -> list[str]:
        """The overrides of a launcher's job."""
        storage = self.settings.storage or str(self.directory / JOURNAL)
        where: list[tuple[str, Value]] = [
            ("search.storage", storage),
            ("search.study", self.study),
            ("search.job", True),
            ("hydra.sweep.dir", str(self.directory)),
            ("hydra.sweep.subdir", f"jobs/{number}"),
        ]
        return [*self.plan.typed, *(to_override(Parameter(key, "choice"), value) for key, value in where)]

    # ------------------------------------------------------------------ before the first trial, and after the last

    def _sanity(self, pool: WorkerPool) -> int | None:
        """Look at the search's configuration before anything is tried; the size of the validation split, or None where
        the stage failed."""
        noted = self.storage.get_study_user_attrs(self.id)
        if "examples" in noted:
            return noted["examples"]
        neutral = self.configurations.base_config
        task = Task(
            config=to_dict(neutral),
            flags=self.configurations.flags,
            overrides=(*self.configurations.base, "stage=sanity"),
            directory=self.directory / "sanity",
            metric=self.settings.metric,
            sanity=True,
        )
        looked = next(iter(pool.map([task])))
        if isinstance(looked, BaseException):
            raise looked
        if stage := looked["stage"]:
            findings = tuple(Finding.from_dict(told) for told in stage["findings"])
            passed = stage["status"] == "passed"
            fields = {key: stage[key] for key in ("name", "seconds", "headline", "metrics")}
            Terminal(verbose=1).on_stage_end(SimpleNamespace(**fields, passed=passed, findings=findings))
            if not passed:
                return None
        self.storage.set_study_user_attr(self.id, "examples", looked["examples"])
        return looked["examples"]

    def _save(self, engine: TrialScheduler) -> None:
        write_search(self._snapshot(engine))

    def _snapshot(self, engine: TrialScheduler, *, finished: bool = False) -> Search:
        hydra = self.config.hydra.overrides.hydra if "hydra" in self.config else ()
        return Search(
            name=self.study,
            directory=str(self.directory),
            command=self.plan.command(hydra),
            base=self.plan.base,
            direction=self.settings.direction,
            metric=self.settings.metric,
            examples=engine.examples,
            seed=self.settings.seed,
            storage=self.settings.storage or str(self.directory / JOURNAL),
            rounds=tuple(study.round for study in engine.rounds),
            trials=tuple(engine.trials()),
            finished=finished,
        )

    def _results(self, engine: TrialScheduler, pool: WorkerPool, teller: SearchTerminal) -> int:
        found = self._snapshot(engine, finished=True)
        write_search(found)
        teller.ends(found)
        teller.gaps([gap for gap in gaps(found) if gap.round == len(found.rounds) - 1])
        comparison = None
        try:
            if self.settings.retrain_seeds and (ranking := found.ranking()):
                count = min(2, len(ranking)) * self.settings.retrain_seeds
                teller.print(f"the best two once more, {count} trainings with other seeds", style="dim")
                retrain = functools.partial(self._retrained, found, pool)
                comparison = compare_best_two(found, retrain, seeds=self.settings.retrain_seeds)
                teller.print(comparison.sentence if comparison else "")
        finally:
            files.write(found, comparison)
        return FAILED if no_trial_completed(found.trials) else PASSED

    def _retrained(self, found: Search, pool: WorkerPool, jobs: Sequence[RetrainJob]) -> list[float | None]:
        """The scores of some trials with other seeds, trained as long as the last round's."""
        by_number = {trial.number: trial for trial in found.trials}
        tasks = []
        for job in jobs:
            trial = by_number[job.trial]
            longest = dataclasses.replace(found.rounds[trial.round], epochs=found.rounds[-1].epochs)
            config = copy.deepcopy(self.configurations.for_trial(longest, trial.params)) | {"seed": job.seed}
            tasks.append(Task(config=config, overrides=job.overrides, directory=None, metric=self.settings.metric))
        return [None if isinstance(told, BaseException) else told.get("score") for told in pool.map(tasks)]


@contextlib.contextmanager
def _closing(pool: WorkerPool) -> Iterator[WorkerPool]:
    try:
        yield pool
    finally:
        pool.close()
