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
from pipeline.errors import FAILED, PASSED, Stopped, UserError
from pipeline.plain import to_plain
from pipeline.report.terminal import Terminal
from pipeline.runs.directory import point_latest
from pipeline.search import results
from pipeline.search.alive import Me
from pipeline.search.analysis import gaps
from pipeline.search.configurations import Configurations
from pipeline.search.engine import Ended, Engine, ended_badly
from pipeline.search.final import Job, compare_winner
from pipeline.search.joining import forget, joined
from pipeline.search.plan import Plan
from pipeline.search.pool import Pool
from pipeline.search.settings import Settings, threads, workers
from pipeline.search.space import typed
from pipeline.search.storage import JOURNAL, opened
from pipeline.search.task import Task
from pipeline.search.telling import SearchTeller
from pipeline.search.trial import Parameter, Round, Search, Value, write_search
from pipeline.stopping import Stopper

Launch = Callable[[list[list[str]], str], None]


class Part:
    """This process's part in a search."""

    def __init__(
        self, config: DictConfig, settings: Settings, plan: Plan, configurations: Configurations, first: Round
    ):
        self.config, self.settings, self.plan = config, settings, plan
        self.configurations, self.first = configurations, first
        self.directory = Path(plan.directory)
        self.study = settings.study or f"{config.name}-{plan.fingerprint}"
        self.me, self.stopper = Me(), Stopper()
        self.storage: BaseStorage

    # ------------------------------------------------------------------ the program

    def to_its_end(self, launch: Launch | None) -> int:
        new = not self.directory.exists()
        among = workers(self.settings)
        teller = SearchTeller(
            metric=self.settings.metric,
            direction=self.settings.direction,
            verbose=int(self.config.verbose),
        )
        self.storage = opened(self.settings.storage, self.directory)
        self.id = joined(self.storage, self.study, self.first, self.plan, settings=self.settings, me=self.me)
        with self.stopper.listening(), _closing(Pool(among if launch is None else 1, threads=self._threads())) as pool:
            try:
                examples = self._sanity(pool)
            except UserError:
                if new:
                    forget(self.storage, self.id, self.directory)
                raise
            if examples is None:
                return FAILED
            teller.say(f"{self.study}  {os.path.relpath(self.directory)}", style="dim")
            point_latest(self.directory, Path(str(self.config.outputs)).resolve())
            engine = self._engine(pool, examples, teller)
            try:
                self._through(engine, launch, among)
            except (Stopped, KeyboardInterrupt, Ended):
                if (found := self._snapshot(engine)).trials:
                    results.write(found)
                raise
            finally:
                teller.close()
                self._save(engine)
            return self._results(engine, pool, teller)

    def _through(self, engine: Engine, launch: Launch | None, among: int) -> None:
        """All rounds, by workers of our own or by a launcher's jobs."""
        if launch is None:
            engine.run()
            return
        try:
            engine.begin()
            launch([self._job(k) for k in range(among)], str(self.directory))
        finally:
            engine.look_on()

    def take_part(self, examples: int, teller: Any) -> None:
        """Take trials until there are none, as one of many."""
        with self.stopper.listening(), _closing(Pool(1, threads=self._threads())) as pool:
            self._engine(pool, examples, teller, save=False).run()

    def _threads(self) -> int:
        return threads(self.settings, workers(self.settings))

    def _engine(self, pool: Pool, examples: int, teller: Any, *, save: bool = True) -> Engine:
        return Engine(
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
            me=self.me,
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
        return [*self.plan.typed, *(typed(Parameter(key, "choice"), value) for key, value in where)]

    # ------------------------------------------------------------------ before the first trial, and after the last

    def _sanity(self, pool: Pool) -> int | None:
        """Look at the search's configuration before anything is tried; the size of the validation split, or None where
        the stage failed."""
        noted = self.storage.get_study_user_attrs(self.id)
        if "examples" in noted:
            return noted["examples"]
        neutral = self.configurations.neutral
        task = Task(
            config=to_plain(neutral),
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
            Terminal(verbose=1).stage_ends(SimpleNamespace(**fields, passed=passed, findings=findings))
            if not passed:
                return None
        self.storage.set_study_user_attr(self.id, "examples", looked["examples"])
        return looked["examples"]

    def _save(self, engine: Engine) -> None:
        write_search(self._snapshot(engine))

    def _snapshot(self, engine: Engine, *, finished: bool = False) -> Search:
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

    def _results(self, engine: Engine, pool: Pool, teller: SearchTeller) -> int:
        found = self._snapshot(engine, finished=True)
        write_search(found)
        teller.ends(found)
        teller.gaps([gap for gap in gaps(found) if gap.round == len(found.rounds) - 1])
        comparison = None
        try:
            if self.settings.final_seeds and (ranking := found.ranking()):
                count = min(2, len(ranking)) * self.settings.final_seeds
                teller.say(f"the best two once more, {count} trainings with other seeds", style="dim")
                retrain = functools.partial(self._retrained, found, pool)
                comparison = compare_winner(found, retrain, seeds=self.settings.final_seeds)
                teller.say(comparison.sentence if comparison else "")
        finally:
            results.write(found, comparison)
        return FAILED if ended_badly(found.trials) else PASSED

    def _retrained(self, found: Search, pool: Pool, jobs: Sequence[Job]) -> list[float | None]:
        """The scores of some trials with other seeds, trained as long as the last round's."""
        by_number = {trial.number: trial for trial in found.trials}
        tasks = []
        for job in jobs:
            trial = by_number[job.trial]
            longest = dataclasses.replace(found.rounds[trial.round], epochs=found.rounds[-1].epochs)
            config = copy.deepcopy(self.configurations.plain(longest, trial.params)) | {"seed": job.seed}
            tasks.append(Task(config=config, overrides=job.overrides, directory=None, metric=self.settings.metric))
        return [None if isinstance(told, BaseException) else told.get("score") for told in pool.map(tasks)]


@contextlib.contextmanager
def _closing(pool: Pool) -> Iterator[Pool]:
    try:
        yield pool
    finally:
        pool.close()
