"""One round of a search as an Optuna study that any number of processes and machines may share.

A round's trials are rows that wait from the beginning, so there is nothing to agree on but who takes which: the storage
lets one process alone turn a row from waiting to running. Whoever takes trials signs them and gives a sign of life
every few seconds; rows whose owner is gone wait again. A row is finished once, so that its result counts once, even if
somebody who was thought dead comes back with it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from optuna.exceptions import DuplicatedStudyError, UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from pipeline.runs.json_files import decode_nonfinite, encode_nonfinite
from pipeline.search.records import (
    COMPLETE,
    KILLED,
    PRUNED,
    RUNNING,
    WAITING,
    Round,
    Trial,
    Value,
    round_from,
    round_to,
)
from pipeline.search.settings import SearchSettings
from pipeline.search.space.sampling import ActiveParameters, all_parameters, distribution, presample
from pipeline.search.study.adaptive_sampling import AdaptiveSampler
from pipeline.search.study.heartbeat import HeartbeatRegistry, WorkerIdentity

MAX_WORKER_DEATHS = 2
"""A trial that ends so many workers is given up."""


@dataclass(frozen=True)
class ClaimedTrial:
    """A trial that is ours to run."""

    id: int
    number: int
    """Within its round."""
    params: dict[str, Value]
    sampler: str


class RoundStudy:
    """The rows of one round."""

    def __init__(
        self,
        storage: BaseStorage,
        name: str,
        index: int,
        *,
        round: Round,
        me: WorkerIdentity,
        settings: SearchSettings,
        offset: int,
        applying: ActiveParameters = all_parameters,
    ):
        self.storage, self.name, self.index, self.identity, self.settings = storage, name, index, me, settings
        self.offset = offset
        """Trials of the rounds before."""
        self.id = storage.get_study_id_from_name(name)
        self.round = self._asked_for(round)
        self.samplers = settings.samplers(index)
        self.signs = HeartbeatRegistry(storage, self.id, me)
        self._applying = applying
        self._asking = AdaptiveSampler(
            storage, name, round=self.round, index=index, settings=settings, applying=applying
        )

    def _asked_for(self, round: Round) -> Round:
        """The round as its maker noted it. All come to the same one; a maker who was killed noted none."""
        noted = self.storage.get_study_user_attrs(self.id).get("round")
        return round if noted is None else round_from(noted)

    # ------------------------------------------------------------------ making the rows

    @staticmethod
    def create(storage: BaseStorage, name: str, round: Round, *, direction: str, me: WorkerIdentity) -> bool:
        """Make the study; False where it is there already: the name is the lock."""
        try:
            id_ = storage.create_new_study([StudyDirection[direction.upper()]], name)
        except DuplicatedStudyError:
            return False
        storage.set_study_user_attr(id_, "maker", {"token": me.token} | me.heartbeat_text())
        storage.set_study_user_attr(id_, "round", round_to(round))
        return True

    def is_enqueuer(self) -> bool:
        """Whether it is ours to make the rows: the maker's own, and where the maker is gone, the first by name of
        those who live."""
        maker = self.storage.get_study_user_attrs(self.id).get("maker")
        if maker is not None and (maker["token"] == self.identity.token or self.signs.is_alive(maker["token"], maker)):
            return maker["token"] == self.identity.token
        return self.identity.token == self.signs.leader()

    def enqueue_trials(self) -> None:
        """Add the rows that are missing, in their order; those of a maker who was killed half-way are kept."""
        rows = [row for sampler in self.samplers for row in self._planned(sampler)]
        there = len(self._rows())
        distributions = {p.key: distribution(p) for p in self.round.parameters}
        for sampler, params in rows[there:]:
            template = create_trial(
                state=TrialState.WAITING,
                params=params or {},
                distributions={key: distributions[key] for key in params or {}},
                user_attrs={"sampler": sampler},
            )
            self.storage.create_new_trial(self.id, template_trial=template)
        self.storage.set_study_user_attr(self.id, "rows", len(rows))

    def _planned(self, sampler: str) -> list[tuple[str, dict[str, Value] | None]]:
        seed, n = self.settings.seed, self.round.trials
        planned = presample(sampler, self.round.parameters, n, seed=seed, round=self.index, applying=self._applying)
        return [(sampler, params) for params in planned] if planned is not None else [(sampler, None)] * n

    def total_trials(self) -> int | None:
        """How many rows there are to be; None while they are being made."""
        return self.storage.get_study_user_attrs(self.id).get("rows")

    # ------------------------------------------------------------------ taking and giving back

    def _rows(self, *states: TrialState) -> list[FrozenTrial]:
        rows = self.storage.get_all_trials(self.id, deepcopy=False, states=states or None)
        budget = self.total_trials()
        return [row for row in rows if budget is None or row.number < budget]

    def claim(self) -> ClaimedTrial | None:
        """Take the first row that waits; None where none does."""
        for row in self._rows(TrialState.WAITING):
            try:
                if not self.storage.set_trial_state_values(row._trial_id, TrialState.RUNNING):
                    continue
            except UpdateFinishedTrialError:
                continue
            self.storage.set_trial_user_attr(row._trial_id, "owner", self.identity.token)
            sampler = row.user_attrs["sampler"]
            return ClaimedTrial(row._trial_id, row.number, self._params(row), sampler)
        return None

    def _params(self, row: FrozenTrial) -> dict[str, Value]:
        return dict(row.params) or self._asking.suggest(row._trial_id, row.user_attrs["sampler"])

    def should_prune(self, claim: ClaimedTrial, epoch: int, score: float) -> bool:
        """Whether the pruner would stop the trial; notes its score."""
        return self._asking.should_prune(claim.id, claim.sampler, epoch=epoch, score=score)

    def release(self, id_: int) -> None:
        """Let the row wait again."""

        def give_back() -> None:
            self.storage.set_trial_user_attr(id_, "owner", "")
            self.storage.set_trial_state_values(id_, TrialState.WAITING)

        self._quietly(give_back)

    def record_worker_death(self, claim: ClaimedTrial, reason: str) -> bool:
        """Note that the trial's worker died. It waits again, once; True where it is given up."""
        kills = int(self.storage.get_trial(claim.id).user_attrs.get("kills", 0)) + 1
        if kills >= MAX_WORKER_DEATHS:
            again = f"{reason}, {kills} times" if kills > 1 else reason
            return self.complete(claim, {"state": KILLED, "reason": again})
        self._quietly(lambda: self.storage.set_trial_user_attr(claim.id, "kills", kills))
        self.release(claim.id)
        return False

    def complete(self, claim: ClaimedTrial, result: dict[str, Any]) -> bool:
        """Tell the result: `state`, and what else a `Trial` has. False where the row is no longer ours."""
        if self.storage.get_trial(claim.id).user_attrs.get("owner") != self.identity.token:
            return False
        state = {COMPLETE: TrialState.COMPLETE, PRUNED: TrialState.PRUNED}.get(result["state"], TrialState.FAIL)
        values = [result["score"]] if state is TrialState.COMPLETE else None

        def tell() -> None:
            self.storage.set_trial_user_attr(claim.id, "result", encode_nonfinite(result))
            self.storage.set_trial_state_values(claim.id, state, values)

        self._asking.discard(claim.id)
        return self._quietly(tell)

    @staticmethod
    def _quietly(change: Callable[[], object]) -> bool:
        """False where somebody has finished the row meanwhile."""
        try:
            change()
        except UpdateFinishedTrialError:
            return False
        return True

    def close(self) -> None:
        """What we had taken waits again, and we are not among those who work on it."""
        for row in self._rows(TrialState.RUNNING):
            if row.user_attrs.get("owner") == self.identity.token:
                self.release(row._trial_id)
        self.signs.remove()

    def requeue_orphans(self) -> int:
        """Let the rows of owners who are gone wait again; how many."""
        signs, found = self.signs.all(), 0
        alone = not self.signs.alive_peers()
        for row in self._rows(TrialState.RUNNING):
            owner = row.user_attrs.get("owner", "")
            if owner != self.identity.token and (alone or not self.signs.is_alive(owner, signs.get(owner))):
                self.release(row._trial_id)
                found += 1
        return found

    # ------------------------------------------------------------------ as plain data

    def finished(self) -> bool:
        """Whether every row is."""
        return self.count_finished() == self.total_trials()

    def count_finished(self) -> int:
        return sum(row.state.is_finished() for row in self._rows())

    def trials(self, overrides: Callable[[Round, dict[str, Value]], Sequence[str]]) -> list[Trial]:
        """All rows; `overrides` are those of a round and parameters."""
        found = []
        for row in self._rows():
            result = dict(row.user_attrs.get("result", {})) if row.state.is_finished() else {}
            for key in ("score", "metrics", "scores"):
                if key in result:
                    result[key] = decode_nonfinite(result[key])
            state = {TrialState.WAITING: WAITING, TrialState.RUNNING: RUNNING}.get(row.state, "")
            found.append(
                Trial(
                    number=self.offset + row.number,
                    round=self.index,
                    params=dict(row.params),
                    overrides=tuple(overrides(self.round, row.params)),
                    sampler=row.user_attrs["sampler"],
                    **({"state": state} if state else result),
                )
            )
        return found
