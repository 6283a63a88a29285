"""Rounds one after another, trials as fast as workers take them.

Nobody is in charge: every process that works on a search claims trials from the shared study, sees when a round is
finished, and comes to the same next round. So the program itself, a second one on another machine and a cluster's job
all run this, and there is no barrier: a worker that finishes takes the next trial.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from optuna.storages import BaseStorage

from pipeline.errors import Interrupted
from pipeline.search.records import BROKEN, CRASHED, KILLED, Round, Trial
from pipeline.search.settings import NON_ADAPTIVE_SAMPLERS, SearchSettings
from pipeline.search.space.refine import next_round
from pipeline.search.space.trial_configs import TrialConfigs
from pipeline.search.study.heartbeat import WorkerIdentity
from pipeline.search.study.round_study import ClaimedTrial, RoundStudy
from pipeline.search.workers.pool import PruneRequest, TaskDone, WorkerDied, WorkerPool
from pipeline.search.workers.task import Task
from pipeline.workflow.interrupt import InterruptHandler

POLL_SECONDS = 0.2
"""Seconds between two looks at signals, at other processes' trials, and at the clock."""
SHORT_TRIAL_SECONDS = 1.0
"""Trials that take less are queued behind the one that runs, so that no worker waits for the next."""


class Reporter(Protocol):
    """What is told while a search runs."""

    def round_begins(self, index: int, round: Round, done: int, total: int) -> None: ...

    def trial_ends(self, trial: dict[str, Any], claim: ClaimedTrial, number: int) -> None: ...

    def on_retry(self, number: int, reason: str) -> None: ...

    def on_progress(self, done: int, total: int) -> None: ...


class FailFast(Exception):
    """`search.fail_fast`: a trial broke."""

    def __init__(self, number: int, state: str, reason: str):
        super().__init__(f"trial {number} {state}: {reason}")
        self.state = state


@dataclass
class TrialScheduler:
    """Works on the search `study` in `storage` until nothing is left to do."""

    storage: BaseStorage
    study: str
    settings: SearchSettings
    configurations: TrialConfigs
    first: Round
    directory: Path
    examples: int
    pool: WorkerPool
    teller: Reporter
    stopper: InterruptHandler
    saved: Callable[[TrialScheduler], None] = lambda engine: None
    """Called when something is worth keeping."""
    identity: WorkerIdentity = field(default_factory=WorkerIdentity)
    rounds: list[RoundStudy] = field(default_factory=list)
    _seconds: float = SHORT_TRIAL_SECONDS

    def run(self) -> None:
        """Raises `Stopped` when asked to stop, after giving back what it had taken, and `Ended` with fail_fast."""
        round: Round | None = self.first
        while round is not None:
            study = self._open_round(round)
            self.rounds.append(study)
            self.teller.round_begins(study.index, study.round, study.count_finished(), study.total_trials() or 0)
            try:
                with self.stopper.deferred():
                    self._work(study)
            finally:
                study.close()
            self.saved(self)
            round = next_round([s.round for s in self.rounds], self.trials(), self.settings, examples=self.examples)

    def create_first_round(self) -> None:
        """Make the first round's rows, for others to run."""
        self._open_round(self.first).close()

    def read_finished_rounds(self) -> None:
        """Read the rounds that others have run."""
        names = {study.study_name for study in self.storage.get_all_studies()}
        while (name := f"{self.study}.{len(self.rounds)}") in names:
            offset = sum(study.total_trials() or 0 for study in self.rounds)
            self.rounds.append(
                RoundStudy(
                    self.storage, name, len(self.rounds), round=self.first, me=self.identity, settings=self.settings,
                    offset=offset, applying=self.configurations.active_parameters,
                )
            )  # fmt: skip

    def trials(self) -> list[Trial]:
        """Of all rounds so far."""
        return [trial for study in self.rounds for trial in study.trials(self.configurations.overrides)]

    # ------------------------------------------------------------------ one round

    def _open_round(self, round: Round) -> RoundStudy:
        """The round's study; made, or completed where its maker was killed, if need be."""
        index = len(self.rounds)
        name = f"{self.study}.{index}"
        RoundStudy.create(self.storage, name, round, direction=self.settings.direction, me=self.identity)
        offset = sum(study.total_trials() or 0 for study in self.rounds)
        study = RoundStudy(
            self.storage,
            name,
            index,
            round=round,
            me=self.identity,
            settings=self.settings,
            offset=offset,
            applying=self.configurations.active_parameters,
        )
        study.signs.send(now=True)
        while study.total_trials() is None:
            if study.is_enqueuer():
                study.enqueue_trials()
            else:
                time.sleep(POLL_SECONDS)
        return study

    def _work(self, study: RoundStudy) -> None:
        self._look_at = 0.0
        while True:
            if self.stopper.pending_signal is not None:
                raise Interrupted(self.stopper.pending_signal)
            study.signs.send()
            self._assign_trials(study)
            if not self.pool.busy():
                if study.finished():
                    return
                time.sleep(POLL_SECONDS)
            for event in self.pool.poll(POLL_SECONDS):
                self._handle_event(study, event)
            if time.monotonic() >= self._look_at:
                self._housekeeping(study)

    def _assign_trials(self, study: RoundStudy) -> None:
        ahead = self._seconds < SHORT_TRIAL_SECONDS and all(
            sampler in NON_ADAPTIVE_SAMPLERS for sampler in study.samplers
        )
        while self.pool.has_capacity(2 if ahead else 1):
            claim = study.claim()
            if claim is None:
                return
            self.pool.submit(claim, self._task(study, claim))

    def _task(self, study: RoundStudy, claim: ClaimedTrial) -> Task:
        made = self.configurations
        return Task(
            config=made.for_trial(study.round, claim.params),
            flags=made.flags,
            overrides=(*made.base, *made.overrides(study.round, claim.params)),
            directory=self.directory / "trials" / f"{study.offset + claim.number:04d}",
            metric=self.settings.metric,
            report=self.settings.pruner != "none",
        )

    def _handle_event(self, study: RoundStudy, event: TaskDone | PruneRequest | WorkerDied) -> None:
        claim: ClaimedTrial = event.tag
        number = study.offset + claim.number
        if isinstance(event, PruneRequest):
            event.answer(study.should_prune(claim, event.epoch, event.score))
            return
        if isinstance(event, WorkerDied):
            for queued in event.queued:
                study.release(queued.id)
            result = {"state": KILLED, "reason": event.reason}
            if not study.record_worker_death(claim, event.reason):
                self.teller.on_retry(number, event.reason)
                if not self.settings.fail_fast:
                    return
        else:
            result = event.result | {"worker": event.worker}
            self._seconds = result["seconds"]
            if not study.complete(claim, result):
                return
        self.teller.trial_ends(result, claim, number)
        if self.settings.fail_fast and result["state"] in (BROKEN, CRASHED, KILLED):
            raise FailFast(number, result["state"], result["reason"])

    def _housekeeping(self, study: RoundStudy) -> None:
        """Now and then: who is gone, how far we are, and a copy of it for those who look at the folder."""
        started = time.monotonic()
        study.requeue_orphans()
        self.teller.on_progress(study.count_finished(), study.total_trials() or 0)
        self.saved(self)
        took = time.monotonic() - started
        self._look_at = time.monotonic() + max(1.0, 50 * took)


def no_trial_completed(trials: Sequence[Trial]) -> bool:
    """Whether no trial was complete."""
    return not any(trial.score is not None for trial in trials)
