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

from pipeline.errors import Stopped
from pipeline.search.alive import Me
from pipeline.search.configurations import Configurations
from pipeline.search.narrowing import next_round
from pipeline.search.pool import Asked, Died, Done, Pool
from pipeline.search.settings import IN_ADVANCE, Settings
from pipeline.search.study import Claim, RoundStudy
from pipeline.search.task import Task
from pipeline.search.trial import BROKEN, CRASHED, KILLED, Round, Trial
from pipeline.stopping import Stopper

LOOK = 0.2
"""Seconds between two looks at signals, at other processes' trials, and at the clock."""
HASTY = 1.0
"""Trials that take less are queued behind the one that runs, so that no worker waits for the next."""


class Teller(Protocol):
    """What is told while a search runs."""

    def round_begins(self, index: int, round: Round, done: int, total: int) -> None: ...

    def trial_ends(self, trial: dict[str, Any], claim: Claim, number: int) -> None: ...

    def again(self, number: int, reason: str) -> None: ...

    def looked(self, done: int, total: int) -> None: ...


class Ended(Exception):
    """`search.fail_fast`: a trial broke."""

    def __init__(self, number: int, state: str, reason: str):
        super().__init__(f"trial {number} {state}: {reason}")
        self.state = state


@dataclass
class Engine:
    """Works on the search `study` in `storage` until nothing is left to do."""

    storage: BaseStorage
    study: str
    settings: Settings
    configurations: Configurations
    first: Round
    directory: Path
    examples: int
    pool: Pool
    teller: Teller
    stopper: Stopper
    saved: Callable[[Engine], None] = lambda engine: None
    """Called when something is worth keeping."""
    me: Me = field(default_factory=Me)
    rounds: list[RoundStudy] = field(default_factory=list)
    _seconds: float = HASTY

    def run(self) -> None:
        """Raises `Stopped` when asked to stop, after giving back what it had taken, and `Ended` with fail_fast."""
        round: Round | None = self.first
        while round is not None:
            study = self._entered(round)
            self.rounds.append(study)
            self.teller.round_begins(study.index, study.round, study.count_finished(), study.budget() or 0)
            try:
                with self.stopper.deferred():
                    self._work(study)
            finally:
                study.leave()
            self.saved(self)
            round = next_round([s.round for s in self.rounds], self.trials(), self.settings, examples=self.examples)

    def begin(self) -> None:
        """Make the first round's rows, for others to run."""
        self._entered(self.first).leave()

    def look_on(self) -> None:
        """Read the rounds that others have run."""
        names = {study.study_name for study in self.storage.get_all_studies()}
        while (name := f"{self.study}.{len(self.rounds)}") in names:
            offset = sum(study.budget() or 0 for study in self.rounds)
            self.rounds.append(
                RoundStudy(
                    self.storage, name, len(self.rounds), round=self.first, me=self.me, settings=self.settings,
                    offset=offset, applying=self.configurations.applying,
                )
            )  # fmt: skip

    def trials(self) -> list[Trial]:
        """Of all rounds so far."""
        return [trial for study in self.rounds for trial in study.trials(self.configurations.overrides)]

    # ------------------------------------------------------------------ one round

    def _entered(self, round: Round) -> RoundStudy:
        """The round's study; made, or completed where its maker was killed, if need be."""
        index = len(self.rounds)
        name = f"{self.study}.{index}"
        RoundStudy.made(self.storage, name, round, direction=self.settings.direction, me=self.me)
        offset = sum(study.budget() or 0 for study in self.rounds)
        study = RoundStudy(
            self.storage,
            name,
            index,
            round=round,
            me=self.me,
            settings=self.settings,
            offset=offset,
            applying=self.configurations.applying,
        )
        study.signs.beat(now=True)
        while study.budget() is None:
            if study.may_fill():
                study.fill()
            else:
                time.sleep(LOOK)
        return study

    def _work(self, study: RoundStudy) -> None:
        self._look_at = 0.0
        while True:
            if self.stopper.requested is not None:
                raise Stopped(self.stopper.requested)
            study.signs.beat()
            self._hand_out(study)
            if not self.pool.busy():
                if study.finished():
                    return
                time.sleep(LOOK)
            for event in self.pool.events(LOOK):
                self._note(study, event)
            if time.monotonic() >= self._look_at:
                self._look(study)

    def _hand_out(self, study: RoundStudy) -> None:
        ahead = self._seconds < HASTY and all(sampler in IN_ADVANCE for sampler in study.samplers)
        while self.pool.room(2 if ahead else 1):
            claim = study.claim()
            if claim is None:
                return
            self.pool.give(claim, self._task(study, claim))

    def _task(self, study: RoundStudy, claim: Claim) -> Task:
        made = self.configurations
        return Task(
            config=made.plain(study.round, claim.params),
            flags=made.flags,
            overrides=(*made.base, *made.overrides(study.round, claim.params)),
            directory=self.directory / "trials" / f"{study.offset + claim.number:04d}",
            metric=self.settings.metric,
            report=self.settings.pruner != "none",
        )

    def _note(self, study: RoundStudy, event: Done | Asked | Died) -> None:
        claim: Claim = event.tag
        number = study.offset + claim.number
        if isinstance(event, Asked):
            event.answer(study.hopeless(claim, event.epoch, event.score))
            return
        if isinstance(event, Died):
            for queued in event.queued:
                study.release(queued.id)
            result = {"state": KILLED, "reason": event.reason}
            if not study.killed(claim, event.reason):
                self.teller.again(number, event.reason)
                if not self.settings.fail_fast:
                    return
        else:
            result = event.result | {"worker": event.worker}
            self._seconds = result["seconds"]
            if not study.finish(claim, result):
                return
        self.teller.trial_ends(result, claim, number)
        if self.settings.fail_fast and result["state"] in (BROKEN, CRASHED, KILLED):
            raise Ended(number, result["state"], result["reason"])

    def _look(self, study: RoundStudy) -> None:
        """Now and then: who is gone, how far we are, and a copy of it for those who look at the folder."""
        started = time.monotonic()
        study.requeue()
        self.teller.looked(study.count_finished(), study.budget() or 0)
        self.saved(self)
        took = time.monotonic() - started
        self._look_at = time.monotonic() + max(1.0, 50 * took)


def ended_badly(trials: Sequence[Trial]) -> bool:
    """Whether no trial was complete."""
    return not any(trial.score is not None for trial in trials)
