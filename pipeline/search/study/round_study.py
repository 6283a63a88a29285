"""One round of a search as an Optuna study that any number of processes and hosts may share.

The trials of a round are rows that wait from the beginning, so the processes need to agree only on which of them takes
which row: the storage lets a single process change a row from waiting to running. A process marks the rows it claims
with its token and sends a heartbeat every few seconds; rows whose owner is gone wait again. A row is completed once,
so its result counts once, even if a process that was thought dead returns with a second result.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from optuna.exceptions import DuplicatedStudyError, UpdateFinishedTrialError
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from pipeline.runs.json_files import encode_nonfinite
from pipeline.search.records import KILLED, Round, Trial, Value, round_from_dict, round_to_dict
from pipeline.search.settings import SearchSettings
from pipeline.search.space.sampling import ActiveParameters, all_parameters
from pipeline.search.study.adaptive_sampling import AdaptiveSampler
from pipeline.search.study.heartbeat import HeartbeatRegistry, WorkerIdentity
from pipeline.search.study.optuna_internals import trial_id
from pipeline.search.study.rows import ClaimedTrial, final_state, row_to_trial, waiting_rows
from pipeline.search.study.storage import Storage

MAX_WORKER_DEATHS = 2
"""A trial that ends so many workers is not run again."""


class RoundStudy:
    """The rows of one round, as one process sees them."""

    def __init__(
        self,
        storage: Storage,
        name: str,
        index: int,
        *,
        search_round: Round,
        identity: WorkerIdentity,
        settings: SearchSettings,
        offset: int,
        active: ActiveParameters = all_parameters,
    ):
        self.storage, self.name, self.index, self.identity, self.settings = storage, name, index, identity, settings
        self.offset = offset
        """Number of trials in the rounds before."""
        self.id = storage.get_study_id_from_name(name)
        stored = storage.get_study_user_attrs(self.id).get("round")
        self.round = search_round if stored is None else round_from_dict(stored)
        """The round as its creator stored it. A creator that was killed stored none; all processes compute the same."""
        self.samplers = settings.samplers(index)
        self.heartbeats = HeartbeatRegistry(storage, self.id, identity)
        self._active = active
        self._adaptive = AdaptiveSampler(
            storage, name, search_round=self.round, round_index=index, settings=settings, active=active
        )

    # ------------------------------------------------------------------ creating the rows

    @staticmethod
    def create(storage: Storage, name: str, search_round: Round, *, direction: str, identity: WorkerIdentity) -> bool:
        """Create the study, and return whether this process has created it. The name works as the lock."""
        try:
            id_ = storage.create_new_study([StudyDirection[direction.upper()]], name)
        except DuplicatedStudyError:
            return False
        storage.set_study_user_attr(id_, "maker", {"token": identity.token} | identity.make_heartbeat())
        storage.set_study_user_attr(id_, "round", round_to_dict(search_round))
        return True

    def is_enqueuer(self) -> bool:
        """Whether this process adds the rows: as the creator, or, if the creator is gone, as the leader."""
        creator = self.storage.get_study_user_attrs(self.id).get("maker")
        if creator is not None:
            is_ours = creator["token"] == self.identity.token
            if is_ours or self.heartbeats.is_alive(creator["token"], creator):
                return is_ours
        return self.identity.token == self.heartbeats.leader()

    def enqueue_trials(self) -> None:
        """Add the rows that are missing, in order. Rows that a killed creator has added are kept."""
        rows = waiting_rows(self.round, self.index, self.settings, self._active)
        for row in rows[len(self._rows()) :]:
            self.storage.create_new_trial(self.id, template_trial=row)
        self.storage.set_study_user_attr(self.id, "rows", len(rows))

    def total_trials(self) -> int | None:
        """Return the number of rows, or None while they are being added."""
        return self.storage.get_study_user_attrs(self.id).get("rows")

    # ------------------------------------------------------------------ claiming and releasing

    def claim(self) -> ClaimedTrial | None:
        """Claim the first waiting row, or return None if no row waits."""
        for row in self._rows(TrialState.WAITING):
            id_, sampler = trial_id(row), row.user_attrs["sampler"]
            try:
                if not self.storage.set_trial_state_values(id_, TrialState.RUNNING):
                    continue
            except UpdateFinishedTrialError:
                continue
            self.storage.set_trial_user_attr(id_, "owner", self.identity.token)
            params = dict(row.params) or self._adaptive.suggest(id_, sampler)
            return ClaimedTrial(id_, row.number, params, sampler)
        return None

    def should_prune(self, claim: ClaimedTrial, epoch: int, score: float) -> bool:
        """Record the score after `epoch`, and return whether the pruner stops the trial."""
        return self._adaptive.should_prune(claim.id, claim.sampler, epoch=epoch, score=score)

    def release(self, id_: int) -> None:
        """Let the row wait again."""

        def reset() -> None:
            self.storage.set_trial_user_attr(id_, "owner", "")
            self.storage.set_trial_state_values(id_, TrialState.WAITING)

        _succeeds(reset)

    def record_worker_death(self, claim: ClaimedTrial, reason: str) -> bool:
        """Record that the worker of the trial died, and return whether the trial is given up.

        The trial waits again, until it has ended `MAX_WORKER_DEATHS` workers.
        """
        deaths = int(self.storage.get_trial(claim.id).user_attrs.get("kills", 0)) + 1
        if deaths >= MAX_WORKER_DEATHS:
            full_reason = f"{reason}, {deaths} times" if deaths > 1 else reason
            return self.complete(claim, {"state": KILLED, "reason": full_reason})
        _succeeds(lambda: self.storage.set_trial_user_attr(claim.id, "kills", deaths))
        self.release(claim.id)
        return False

    def complete(self, claim: ClaimedTrial, result: dict[str, Any]) -> bool:
        """Store the result, and return False if the row no longer belongs to this process.

        `result` has the key `state` and further fields of a `Trial`.
        """
        if self.storage.get_trial(claim.id).user_attrs.get("owner") != self.identity.token:
            return False
        state = final_state(result)
        values = [result["score"]] if state is TrialState.COMPLETE else None

        def store() -> None:
            self.storage.set_trial_user_attr(claim.id, "result", encode_nonfinite(result))
            self.storage.set_trial_state_values(claim.id, state, values)

        self._adaptive.discard(claim.id)
        return _succeeds(store)

    def close(self) -> None:
        """Release the rows of this process, and remove its heartbeat."""
        for row in self._rows(TrialState.RUNNING):
            if row.user_attrs.get("owner") == self.identity.token:
                self.release(trial_id(row))
        self.heartbeats.remove()

    def requeue_orphans(self) -> int:
        """Release the rows whose owners are gone, and return how many."""
        heartbeats, released = self.heartbeats.all(), 0
        has_peers = bool(self.heartbeats.alive_peers())
        for row in self._rows(TrialState.RUNNING):
            owner = row.user_attrs.get("owner", "")
            if owner == self.identity.token:
                continue
            if not has_peers or not self.heartbeats.is_alive(owner, heartbeats.get(owner)):
                self.release(trial_id(row))
                released += 1
        return released

    # ------------------------------------------------------------------ reading

    def _rows(self, *states: TrialState) -> list[FrozenTrial]:
        rows = self.storage.get_all_trials(self.id, deepcopy=False, states=states or None)
        total = self.total_trials()
        return [row for row in rows if total is None or row.number < total]

    def is_finished(self) -> bool:
        """Whether every row is finished."""
        return self.count_finished() == self.total_trials()

    def count_finished(self) -> int:
        """Return the number of finished rows."""
        return sum(row.state.is_finished() for row in self._rows())

    def trials(self, overrides: Callable[[Round, dict[str, Value]], Sequence[str]]) -> list[Trial]:
        """Return all rows as plain data. `overrides` returns the overrides of a round's trial with given parameters."""
        return [
            row_to_trial(row, self.round, self.index, offset=self.offset, overrides=overrides) for row in self._rows()
        ]


def _succeeds(change: Callable[[], object]) -> bool:
    """Make a change to a row, and return False if another process has finished the row meanwhile."""
    try:
        change()
    except UpdateFinishedTrialError:
        return False
    return True
