"""Gives the trials of a round to the workers of this process, as fast as they take them.

No process is in charge: each one that works on a search claims trials from the shared study, sees when a round is
finished, and computes the same next round. The program itself, a second one on another host and a job of a cluster all
run this code. There is no barrier: a worker that has finished takes the next trial.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from pipeline.errors import Interrupted
from pipeline.search.plan import SearchPlan
from pipeline.search.records import BROKEN, CRASHED, KILLED
from pipeline.search.report.reporter import Reporter
from pipeline.search.settings import NON_ADAPTIVE_SAMPLERS
from pipeline.search.study.round_study import RoundStudy
from pipeline.search.study.rows import ClaimedTrial
from pipeline.search.workers.pool import Event, PruneRequest, WorkerDied, WorkerPool
from pipeline.search.workers.task import Task
from pipeline.workflow.interrupt import InterruptHandler

POLL_SECONDS = 0.2
"""Seconds between two looks at signals, at the trials of other processes, and at the clock."""
SHORT_TRIAL_SECONDS = 1.0
"""Trials that take less are queued behind the one that runs, so that no worker waits for the next."""
HOUSEKEEPING_SECONDS = 1.0
"""Least time between two rounds of housekeeping; at most a fiftieth of the time is spent on it."""


class FailFast(Exception):
    """The end of a search with `search.fail_fast`, since a trial broke."""

    def __init__(self, number: int, state: str, reason: str):
        super().__init__(f"trial {number} {state}: {reason}")
        self.state = state


@dataclass
class TrialScheduler:
    """Runs trials of a search on a pool of workers. `save` is called now and then with what is worth saving."""

    plan: SearchPlan
    pool: WorkerPool
    reporter: Reporter
    interrupt: InterruptHandler
    save: Callable[[], None]
    _last_trial_seconds: float = SHORT_TRIAL_SECONDS
    _next_housekeeping: float = 0.0

    def run_round(self, study: RoundStudy) -> None:
        """Run trials until every trial of the round is finished, here or elsewhere.

        Raise `Interrupted` on a signal, and `FailFast` if a trial breaks and `search.fail_fast` is set; trials that
        were claimed are then released.
        """
        self.reporter.on_round_start(study.round, study.count_finished(), study.total_trials() or 0)
        self._next_housekeeping = 0.0
        try:
            with self.interrupt.deferred():
                self._run_trials(study)
        finally:
            study.close()
        self.save()

    def _run_trials(self, study: RoundStudy) -> None:
        while True:
            if self.interrupt.pending_signal is not None:
                raise Interrupted(self.interrupt.pending_signal)
            study.heartbeats.send()
            self._assign_trials(study)
            if not self.pool.is_busy():
                if study.is_finished():
                    return
                time.sleep(POLL_SECONDS)
            for event in self.pool.poll(POLL_SECONDS):
                self._handle_event(study, event)
            if time.monotonic() >= self._next_housekeeping:
                self._housekeeping(study)

    def _assign_trials(self, study: RoundStudy) -> None:
        are_known = all(sampler in NON_ADAPTIVE_SAMPLERS for sampler in study.samplers)
        depth = 2 if are_known and self._last_trial_seconds < SHORT_TRIAL_SECONDS else 1
        while self.pool.has_capacity(depth):
            claim = study.claim()
            if claim is None:
                return
            self.pool.submit(claim, self._make_task(study, claim))

    def _make_task(self, study: RoundStudy, claim: ClaimedTrial) -> Task:
        configs = self.plan.trial_configs
        return Task(
            config=configs.for_trial(study.round, claim.params),
            flags=configs.flags,
            overrides=(*configs.base, *configs.overrides(study.round, claim.params)),
            directory=self.plan.directory / "trials" / f"{study.offset + claim.number:04d}",
            metric=self.plan.settings.metric,
            asks_pruner=self.plan.settings.pruner != "none",
        )

    def _handle_event(self, study: RoundStudy, event: Event) -> None:
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
                self.reporter.on_retry(number, event.reason)
                if not self.plan.settings.fail_fast:
                    return
        else:
            result = event.result | {"worker": event.worker}
            self._last_trial_seconds = result["seconds"]
            if not study.complete(claim, result):
                return
        self.reporter.on_trial_end(number, claim.params, result)
        if self.plan.settings.fail_fast and result["state"] in (BROKEN, CRASHED, KILLED):
            raise FailFast(number, result["state"], result["reason"])

    def _housekeeping(self, study: RoundStudy) -> None:
        """Release the trials of processes that are gone, report the progress, and save."""
        started = time.monotonic()
        study.requeue_orphans()
        self.reporter.on_progress(study.count_finished(), study.total_trials() or 0)
        self.save()
        seconds = time.monotonic() - started
        self._next_housekeeping = time.monotonic() + max(HOUSEKEEPING_SECONDS, 50 * seconds)
